"""Machine code of one kernel: made by Numba, kept as bytes, and brought into memory by LLVM alone.

Numba has a cache of its own, but its files can be read by Numba only, and to import and set up
Numba takes a second. What is kept here is the object file that LLVM has made, with what is needed
to use it; llvmlite, Numba's thin binding of LLVM, puts it into memory and connects its calls.

A file is one line of JSON (name, symbols wanted from elsewhere, checksum), then the object file.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm

from kernels.language import signature_of


@dataclass(frozen=True)
class ObjectCode:
    """A compiled function.

    name    its symbol in the object file
    wanted  functions that it calls and that are not in it: other kernels, the C library
    data    the object file
    """

    name: str
    wanted: tuple[str, ...]
    data: bytes

    def to_bytes(self) -> bytes:
        head = {"name": self.name, "wanted": self.wanted, "sha256": _checksum(self.data)}
        return json.dumps(head).encode() + b"\n" + self.data

    @staticmethod
    def from_bytes(content: bytes) -> "ObjectCode | None":
        """The code in a file's content; None if that is damaged."""
        line, _, data = content.partition(b"\n")
        try:
            head = json.loads(line)
            whole = head["sha256"] == _checksum(data)
            return ObjectCode(head["name"], tuple(head["wanted"]), data) if whole else None
        except (ValueError, TypeError, KeyError):
            return None

    def fits(self) -> bool:
        """Whether everything that it wants is in this process. (LLVM would end the process.)"""
        _make_process_known()
        return all(llvm.address_of_symbol(name) for name in self.wanted)

    def load(self) -> tuple[int, Any]:
        """The address of the function, and what keeps it in memory."""
        engine = _new_engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(self.data))
        engine.finalize_object()
        return int(engine.get_function_address(self.name)), engine


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _new_engine() -> Any:
    """What brings code into memory."""
    machine = _target().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


@cache
def _make_process_known() -> None:
    """Let LLVM know the functions of this process, those of the C library among them, which the
    first engine does."""
    _new_engine()


def compiled(
    function: Callable[..., Any], name: str, signature: str, fastmath: Iterable[str]
) -> tuple[ObjectCode, str]:
    """A function as C code with the given symbol, and its LLVM code, to be read."""
    from numba.core import compiler, cpu, registry
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.sigutils import normalize_signature

    flags: Any = compiler.Flags()
    flags.no_cpython_wrapper, flags.no_cfunc_wrapper = True, False
    flags.nrt, flags.error_model = False, "numpy"
    flags.fastmath = cpu.FastMathOptions(set(fastmath))
    arguments, result = normalize_signature(signature_of(signature))
    typing = registry.cpu_target.typing_context
    context: Any = registry.cpu_target.target_context.subtarget()
    context.create_cfunc_wrapper = partial(_wrap, context, name)
    with global_compiler_lock:
        done: Any = compiler.compile_extra(typing, context, function, arguments, result, flags, {})
        final = done.library._final_module
        wanted = sorted(
            f.name for f in final.functions if f.is_declaration and not f.name.startswith("llvm.")
        )
        data = done.library._get_compiled_object()
    return ObjectCode(name, tuple(wanted), data), str(final)


def _wrap(context: Any, name: str, library: Any, of: Any, *_: Any) -> None:
    """Add a plain C function to a library that has one with Numba's calling convention.

    Numba's functions return a status beside their result, and Numba's own wrapper for C asks Python
    to print an exception. A kernel has none to raise (`error_model="numpy"`: a division by zero
    gives infinity), so here the status is dropped.
    """
    from llvmlite import ir
    from numba.core import types

    module = context.create_module(name)
    nothing = of.restype == types.void
    returned = ir.VoidType() if nothing else context.get_value_type(of.restype)
    given = [context.get_value_type(t) for t in of.argtypes]
    outer = ir.Function(module, ir.FunctionType(returned, given), name)
    builder = ir.IRBuilder(outer.append_basic_block())
    inner_type = context.call_conv.get_function_type(of.restype, of.argtypes)
    inner = ir.Function(module, inner_type, of.llvm_func_name)
    _, value = context.call_conv.call_function(
        builder, inner, of.restype, of.argtypes, outer.args, attrs=("noinline",)
    )
    if nothing:
        builder.ret_void()
    else:
        builder.ret(value)
    library.add_ir_module(module)
