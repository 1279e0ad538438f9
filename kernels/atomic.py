"""What threads need, for compiled code: atomic words, a pause, a call by address.

All operations are sequentially consistent, the strongest and simplest order. Words are int64 at
addresses that are multiples of 8.
"""

from llvmlite import ir

from kernels.language import cgutils, intrinsic, signature_of, words
from kernels.simd import INT, pointer

_ORDER = "seq_cst"


@intrinsic
def atomic_load(typingctx, address):
    """The word at an address."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(pointer(builder, args[0], INT), _ORDER, 8)

    return signature_of("int64(int64)"), codegen


@intrinsic
def atomic_store(typingctx, address, value):
    """Put a word at an address."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[1], pointer(builder, args[0], INT), _ORDER, 8)
        return context.get_dummy_value()

    return signature_of(words(2)), codegen


@intrinsic
def atomic_add(typingctx, address, value):
    """Add to the word at an address; returns what was there before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", pointer(builder, args[0], INT), args[1], _ORDER)

    return signature_of("int64(int64, int64)"), codegen


@intrinsic
def atomic_replace(typingctx, address, expected, value):
    """Replace the word at an address if it is the expected one; returns whether it was."""

    def codegen(context, builder, signature, args):
        place = pointer(builder, args[0], INT)
        result = builder.cmpxchg(place, args[1], args[2], _ORDER, _ORDER)
        return builder.extract_value(result, 1)

    return signature_of("boolean(int64, int64, int64)"), codegen


@intrinsic
def pause(typingctx):
    """Tell an x86 processor that this thread waits in a loop; elsewhere nothing."""

    def codegen(context, builder, signature, args):
        if "x86" in builder.module.triple or "amd64" in builder.module.triple:
            function_type = ir.FunctionType(ir.VoidType(), [])
            function = cgutils.get_or_insert_function(
                builder.module, function_type, "llvm.x86.sse2.pause"
            )
            builder.call(function, [])
        return context.get_dummy_value()

    return signature_of(words(0)), codegen


@intrinsic
def call_body(typingctx, address, ints, floats, task, tasks):
    """Call the parallel body at an address."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(ir.VoidType(), [INT] * 4)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return signature_of(words(5)), codegen


@intrinsic
def call_system(typingctx, address, first, second, third):
    """Call a function of the operating system: three integers or addresses in, an int32 out."""

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(ir.IntType(32), [INT] * 3)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        return builder.sext(builder.call(function, args[1:]), INT)

    return signature_of("int64(int64, int64, int64, int64)"), codegen
