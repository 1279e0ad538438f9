"""A small vector vocabulary for Numba: what a compiler's auto-vectoriser cannot be trusted with.

A vector holds LANES float32 values (16, 8 or 4, see host.py). Addresses and distances are plain
int64 in bytes, as in C. All of these are Numba intrinsics: they emit LLVM instructions and exist
only inside compiled code. `load` and `store` need no alignment; `load_first` and `store_first`
touch only the first n lanes, so nothing is ever read or written outside an array.

Channels are laid out in panels: PANEL = 16 floats, one cache line, whatever the vector width. A
panel is VECTORS = 16 / LANES vectors.

NaN and infinity: every operation follows IEEE 754. `maximum` returns its second argument when the
comparison is false, so `maximum(0, x)` keeps a NaN in x.
"""

from functools import cache
from typing import Any

from llvmlite import ir

from kernels.host import LANES
from kernels.language import cgutils, extending, intrinsic, signature_of, types

PANEL = 16
VECTORS = PANEL // LANES

FLOAT = ir.FloatType()
INT = ir.IntType(64)
BYTE = ir.IntType(8)
VECTOR = ir.VectorType(FLOAT, LANES)
_LANE_INDEX = ir.IntType(32)


@cache
def vector_type() -> Any:
    """Numba's name for a vector register of float32."""

    class VectorType(types.Type):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(name=f"vector{LANES}xfloat32")

    @extending.register_model(VectorType)
    class _VectorModel(extending.models.PrimitiveModel):  # type: ignore[name-defined]
        def __init__(self, manager: Any, type_: Any) -> None:
            super().__init__(manager, type_, VECTOR)

    return VectorType()


# ------------------------------------------------------- pieces of code, shared with microkernel.py


def pointer(builder: Any, address: Any, type_: Any) -> Any:
    """An integer address as a pointer to a type."""
    return builder.inttoptr(address, type_.as_pointer())


def emit_load(builder: Any, address: Any) -> Any:
    result = builder.load(pointer(builder, address, VECTOR))
    result.align = 4
    return result


def emit_store(builder: Any, address: Any, value: Any) -> None:
    builder.store(value, pointer(builder, address, VECTOR)).align = 4


def emit_splat(builder: Any, scalar: Any) -> Any:
    """A vector with the scalar in every lane."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_LANE_INDEX, 0))
    zeros = ir.Constant(ir.VectorType(_LANE_INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def emit_fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, in one rounding where the processor has the instruction.

    (`llvm.fma` would call a slow library function for each lane where it has not.)"""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )
    return builder.call(function, [x, y, z])


def emit_first_lanes(builder: Any, n: Any) -> Any:
    """A mask that selects lanes 0 .. n-1; n is an i64 of any value."""
    integers = ir.VectorType(INT, LANES)
    undefined = ir.Constant(integers, ir.Undefined)
    first = builder.insert_element(undefined, n, ir.Constant(_LANE_INDEX, 0))
    zeros = ir.Constant(ir.VectorType(_LANE_INDEX, LANES), [0] * LANES)
    limits = builder.shuffle_vector(first, undefined, zeros)
    return builder.icmp_signed("<", ir.Constant(integers, list(range(LANES))), limits)


def emit_load_first(builder: Any, address: Any, mask: Any) -> Any:
    """Lanes of the mask from memory, zero in the others."""
    pointer_type = VECTOR.as_pointer()
    mask_type = ir.VectorType(ir.IntType(1), LANES)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(VECTOR, [pointer_type, _LANE_INDEX, mask_type, VECTOR]),
        f"llvm.masked.load.v{LANES}f32.p0",
    )
    place = pointer(builder, address, VECTOR)
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    return builder.call(function, [place, ir.Constant(_LANE_INDEX, 4), mask, zero])


def emit_store_first(builder: Any, address: Any, value: Any, mask: Any) -> None:
    """Lanes of the mask to memory; the other places are not touched."""
    pointer_type = VECTOR.as_pointer()
    mask_type = ir.VectorType(ir.IntType(1), LANES)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [VECTOR, pointer_type, _LANE_INDEX, mask_type]),
        f"llvm.masked.store.v{LANES}f32.p0",
    )
    place = pointer(builder, address, VECTOR)
    builder.call(function, [value, place, ir.Constant(_LANE_INDEX, 4), mask])


def emit_prefetch(builder: Any, address: Any, write: bool) -> None:
    """Ask for the cache line at an address, which will be read, and perhaps written. Never a
    fault."""
    place_type, flag = BYTE.as_pointer(), ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [place_type, flag, flag, flag]),
        "llvm.prefetch.p0",
    )
    near, data = ir.Constant(flag, 3), ir.Constant(flag, 1)
    place = pointer(builder, address, BYTE)
    builder.call(function, [place, ir.Constant(flag, int(write)), near, data])


# --------------------------------------------------------------------------------------- intrinsics


def _intrinsic(signature: str) -> Any:
    """Turn `emit(builder, *values) -> value or None` into a Numba intrinsic of one fixed
    signature, in which `vector` is the type of vectors."""

    def decorate(emit: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = emit(builder, *args)
            return context.get_dummy_value() if value is None else value

        def found() -> tuple[Any, Any]:
            return signature_of(signature, vector=vector_type()), codegen

        names = ", ".join(f"a{i}" for i in range(signature.count(",") + 1))
        # Numba looks at the number of parameters, so each arity needs a function of its own.
        typer = eval(f"lambda typingctx, {names}: found()", {"found": found})
        typer.__name__ = typer.__qualname__ = emit.__name__
        typer.__doc__ = emit.__doc__
        typer.__module__ = __name__
        return intrinsic(typer)

    return decorate


@_intrinsic("vector(int64)")
def load(builder, address):
    """The LANES floats at an address."""
    return emit_load(builder, address)


@_intrinsic("void(int64, vector)")
def store(builder, address, value):
    """Write LANES floats to an address."""
    emit_store(builder, address, value)


@_intrinsic("vector(int64, int64)")
def load_first(builder, address, n):
    """The first n floats at an address (n may be <= 0 or >= LANES), zero in the other lanes."""
    return emit_load_first(builder, address, emit_first_lanes(builder, n))


@_intrinsic("void(int64, vector, int64)")
def store_first(builder, address, value, n):
    """Write the first n lanes (n may be <= 0 or >= LANES)."""
    emit_store_first(builder, address, value, emit_first_lanes(builder, n))


@_intrinsic("void(int64)")
def prefetch(builder, address):
    """Ask for the cache line at an address, which will be read. Never a fault, even outside an
    array."""
    emit_prefetch(builder, address, write=False)


@_intrinsic("vector(int64)")
def broadcast(builder, address):
    """The float at an address, in every lane."""
    return emit_splat(builder, builder.load(pointer(builder, address, FLOAT)))


@_intrinsic("vector(float32)")
def splat(builder, x):
    """A float, in every lane."""
    return emit_splat(builder, x)


@_intrinsic("vector(vector, vector, vector)")
def fma(builder, x, y, z):
    """x * y + z."""
    return emit_fma(builder, x, y, z)


@_intrinsic("vector(vector, vector)")
def add(builder, x, y):
    """x + y."""
    return builder.fadd(x, y)


@_intrinsic("vector(vector, vector)")
def sub(builder, x, y):
    """x - y."""
    return builder.fsub(x, y)


@_intrinsic("vector(vector, vector)")
def mul(builder, x, y):
    """x * y."""
    return builder.fmul(x, y)


@_intrinsic("vector(vector, vector)")
def maximum(builder, x, y):
    """The greater one, lane by lane; y if either is NaN."""
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


@_intrinsic("vector(vector, vector, vector)")
def select_positive(builder, condition, x, y):
    """x where condition > 0, else y."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", condition, zero), x, y)


@_intrinsic("vector(vector, vector)")
def keep_unless_negative(builder, condition, x):
    """x where condition is not below 0 (NaN is not), else 0."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered("<", condition, zero), zero, x)


@_intrinsic("vector(int64, vector)")
def keep_where(builder, address, x):
    """x where the LANES bytes at an address are not 0, else 0."""
    bytes_type = ir.VectorType(BYTE, LANES)
    found = builder.load(pointer(builder, address, bytes_type))
    found.align = 1
    chosen = builder.icmp_unsigned("!=", found, ir.Constant(bytes_type, [0] * LANES))
    return builder.select(chosen, x, ir.Constant(VECTOR, [0.0] * LANES))


@_intrinsic("void(int64, vector)")
def store_signs(builder, address, x):
    """LANES bytes at an address: 0 where x is below 0, else (NaN as well) 1."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    kept = builder.fcmp_unordered(">=", x, zero)
    bytes_type = ir.VectorType(BYTE, LANES)
    instruction = builder.store(
        builder.zext(kept, bytes_type), pointer(builder, address, bytes_type)
    )
    instruction.align = 1


@_intrinsic("float32(vector)")
def add_lanes(builder, x):
    """The sum over the lanes, pairwise: lane i + lane i + n/2, and again, down to one."""
    n = LANES
    while n > 1:
        n //= 2
        type_ = ir.VectorType(_LANE_INDEX, n)
        low = builder.shuffle_vector(x, x, ir.Constant(type_, list(range(n))))
        high = builder.shuffle_vector(x, x, ir.Constant(type_, list(range(n, 2 * n))))
        x = builder.fadd(low, high)
    return builder.extract_element(x, ir.Constant(_LANE_INDEX, 0))


def _at(name: str, type_: Any) -> Any:
    @_intrinsic(f"CPointer({name})(int64)")
    def at(builder, address):
        return builder.inttoptr(address, type_.as_pointer())

    return at


float32_at = _at("float32", FLOAT)
"""`float32_at(address)[i]`: memory as an array of float32, no bounds, no negative indices."""
float64_at = _at("float64", ir.DoubleType())
int64_at = _at("int64", INT)
uint8_at = _at("uint8", BYTE)
