"""A reader of pickle programs that can build plain values and nothing else.

It never imports, never calls what a file names and never touches Python's own unpickler: a name in
the file is only looked up by `find`, which answers with an inert object of ours or refuses.

Limits against files made to harm: program bytes, instructions, length of integers, and the work
that an instruction can cause through a value it refers to again. Dictionary keys are plain scalars
(hashing a deep tuple can overflow the C stack, and chosen integers can collide); an entry under any
other key cannot be a weight and is dropped. The format: Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pickletools import opcodes
from typing import BinaryIO

from tinygrad_ft.io.errors import BadContentError, shown

MAX_PROGRAM_BYTES = 64 << 20  # ResNet-50's program has 40 kB
MAX_WORK = 2_000_000  # instructions, plus items copied by them
MAX_INTEGER_BYTES = 1024
_MAX_NAME = 512
_MAX_KEY = 1 << 60  # ints below hash to themselves, so chosen keys cannot collide


@dataclass(frozen=True)
class Callee:
    """What an allowed function's name in a file stands for: our `make`, never the original."""

    name: str
    make: Callable[..., object]


@dataclass(frozen=True)
class Inert:
    """Stands where a harmless object stood that holds no weights: settings, counters, devices."""

    name: str


class _Mark:
    """Marks the beginning of a group of items on the stack."""


_MARK = _Mark()
_NAMES = {opcode.code: opcode.name for opcode in opcodes}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = {"BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d"}
_LENGTHS = {
    "SHORT_BINUNICODE": "<B", "BINUNICODE": "<I", "BINUNICODE8": "<Q",
    "SHORT_BINSTRING": "<B", "BINSTRING": "<i",
    "SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q", "BYTEARRAY8": "<Q",
    "LONG1": "<B", "LONG4": "<i",
}  # fmt: skip
_PUTS = {"BINPUT": "<B", "LONG_BINPUT": "<I"}
_GETS = {"BINGET": "<B", "LONG_BINGET": "<I"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleReader:
    """Runs one pickle program after another from `file`.

    find(module, name): what an allowed name stands for; raises BadContentError for every other.
    persistent_load(id): what a persistent id stands for.
    """

    def __init__(
        self,
        file: BinaryIO,
        find: Callable[[str, str], object],
        persistent_load: Callable[[object], object],
    ) -> None:
        self._file = file
        self._find = find
        self._persistent_load = persistent_load
        self._bytes_left = MAX_PROGRAM_BYTES
        self._work_left = MAX_WORK
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def load(self) -> object:
        """The value of the next program. Raises BadContentError."""
        self._stack = []
        self._memo = {}
        while True:
            code = self._take(1).decode("latin-1")
            self._charge(1)
            name = _NAMES.get(code)
            if name is None:
                raise BadContentError(f"is damaged: \\x{ord(code):02x} is no pickle instruction")
            if name == "STOP":
                return self._pop()
            self._run(name)

    def _run(self, name: str) -> None:
        if name in _CONSTANTS:
            self._push(_CONSTANTS[name])
        elif name in _INTEGERS:
            self._push(self._number(_INTEGERS[name]))
        elif name in _LENGTHS:
            self._push(self._sized(name))
        elif name in _PUTS:
            self._memo[int(self._number(_PUTS[name]))] = self._top()
        elif name in _GETS:
            index = int(self._number(_GETS[name]))
            if index not in self._memo:
                raise BadContentError("is damaged: its pickle refers to a value that is not there")
            self._push(self._memo[index])
        elif name in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[name])]
            self._push(tuple(reversed(items)))
        else:
            instruction = _INSTRUCTIONS.get(name)
            if instruction is None:
                raise BadContentError(
                    f"uses the pickle instruction {name}, which PyTorch never writes; refused"
                )
            instruction(self)

    # --- bytes ---------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        if count > self._bytes_left:
            raise BadContentError(
                f"holds more than {MAX_PROGRAM_BYTES >> 20} MB of pickle beside tensors; refused"
            )
        self._bytes_left -= count
        # The limit above bounds what this may allocate, whatever length the file claims.
        data = self._file.read(count)
        if len(data) != count:
            raise BadContentError("is cut short: it ends inside its pickle")
        return data

    def _line(self) -> str:
        line = self._file.readline(_MAX_NAME)
        self._bytes_left -= len(line)
        if not line.endswith(b"\n"):
            raise BadContentError("is damaged or cut short: a name in its pickle has no end")
        return _text(line[:-1])

    def _number(self, layout: str) -> int | float:
        number: int | float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number

    def _sized(self, name: str) -> object:
        length = int(self._number(_LENGTHS[name]))
        if length < 0:
            raise BadContentError("is damaged: a length in its pickle is negative")
        if name.startswith("LONG"):
            if length > MAX_INTEGER_BYTES:
                raise BadContentError(f"holds an integer of {length} bytes; refused")
            return int.from_bytes(self._take(length), "little", signed=True)
        data = self._take(length)
        if "BYTE" in name:
            return data
        return _text(data)  # Python 2 wrote its str as BINSTRING

    # --- stack ---------------------------------------------------------------------------------

    def _charge(self, work: int) -> None:
        self._work_left -= work
        if self._work_left < 0:
            raise BadContentError(
                "holds far more values beside its tensors than weights need; refused"
            )

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> object:
        value = self._top()
        del self._stack[-1]
        return value

    def _top(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise BadContentError("is damaged: its pickle takes a value that is not there")
        return self._stack[-1]

    def _pop_to_mark(self) -> list[object]:
        items: list[object] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                items.reverse()
                return items
            items.append(value)
        raise BadContentError("is damaged: its pickle closes a group that was not opened")

    def _push_mark(self) -> None:
        self._push(_MARK)

    def _duplicate(self) -> None:
        self._push(self._top())

    def _skip_frame(self) -> None:
        self._number("<Q")  # only a hint for buffering

    def _skip_proto(self) -> None:
        version = self._take(1)[0]
        if version not in (2, 3, 4, 5):
            raise BadContentError(f"uses pickle protocol {version}; 2 to 5 are read")

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    # --- containers ----------------------------------------------------------------------------

    def _append(self) -> None:
        self._extend([self._pop()])

    def _appends(self) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise BadContentError("is damaged: its pickle appends to something that is no list")

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._update([key, value])

    def _set_items(self) -> None:
        self._update(self._pop_to_mark())

    def _update(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, dict):
            fill(target, items)
        elif not isinstance(target, Inert):
            raise BadContentError(
                "is damaged: its pickle sets an entry of something that is no dict"
            )

    def _make_empty_list(self) -> None:
        self._push([])

    def _make_list(self) -> None:
        self._push(self._pop_to_mark())

    def _make_tuple(self) -> None:
        self._push(tuple(self._pop_to_mark()))

    def _make_empty_dict(self) -> None:
        self._push({})

    def _make_dict(self) -> None:
        made: dict[object, object] = {}
        fill(made, self._pop_to_mark())
        self._push(made)

    def _make_set(self) -> None:
        self._push(Inert("set"))  # weights are never in a set

    def _make_frozenset(self) -> None:
        self._pop_to_mark()
        self._make_set()

    # --- names -----------------------------------------------------------------------------------

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._push(self._find(module, name))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise BadContentError("names something to run by a value that is no string; refused")
        self._push(self._find(module, name))

    def _inst(self) -> None:
        # Answers as the other two: what is allowed is never written with this old instruction.
        module, name = self._line(), self._line()
        self._find(module, name)
        raise BadContentError(f"makes a {module}.{name} in a way that PyTorch never does; refused")

    def _reduce(self) -> None:
        arguments, callee = self._pop(), self._pop()
        if not isinstance(callee, Callee):
            raise BadContentError(f"wants to run {_described(callee)}; refused")
        if not isinstance(arguments, tuple):
            raise BadContentError(f"runs {callee.name} with arguments that are no tuple; refused")
        self._charge(sum(len(a) for a in arguments if isinstance(a, (list, dict, tuple))))
        try:
            made = callee.make(*arguments)
        except TypeError:  # our own functions: only a wrong number of arguments does this
            raise BadContentError(f"gives {callee.name} the wrong number of arguments") from None
        self._push(made)

    def _build(self) -> None:
        self._pop()  # attributes of an object: none of them is a weight
        if isinstance(self._top(), (str, bytes, int, float, list, tuple)):
            raise BadContentError("is damaged: its pickle sets attributes of a plain value")

    def _load_persistent(self) -> None:
        self._push(self._persistent_load(self._pop()))


_INSTRUCTIONS: dict[str, Callable[[PickleReader], None]] = {
    "PROTO": PickleReader._skip_proto,
    "FRAME": PickleReader._skip_frame,
    "MARK": PickleReader._push_mark,
    "DUP": PickleReader._duplicate,
    "MEMOIZE": PickleReader._memoize,
    "EMPTY_LIST": PickleReader._make_empty_list,
    "LIST": PickleReader._make_list,
    "TUPLE": PickleReader._make_tuple,
    "APPEND": PickleReader._append,
    "APPENDS": PickleReader._appends,
    "EMPTY_DICT": PickleReader._make_empty_dict,
    "DICT": PickleReader._make_dict,
    "SETITEM": PickleReader._set_item,
    "SETITEMS": PickleReader._set_items,
    "EMPTY_SET": PickleReader._make_set,
    "ADDITEMS": PickleReader._appends,
    "FROZENSET": PickleReader._make_frozenset,
    "GLOBAL": PickleReader._global,
    "STACK_GLOBAL": PickleReader._stack_global,
    "INST": PickleReader._inst,
    "REDUCE": PickleReader._reduce,
    "NEWOBJ": PickleReader._reduce,  # the same for us: an allowed name and its arguments
    "BUILD": PickleReader._build,
    "BINPERSID": PickleReader._load_persistent,
}


def fill(target: dict[object, object], items: list[object]) -> None:
    """Set `items` (key, value, key, ...); entries under keys that are no scalars are dropped."""
    if len(items) % 2:
        raise BadContentError("is damaged: its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, int) and abs(key) >= _MAX_KEY:
            continue
        if key is None or isinstance(key, (str, bytes, int, float)):
            target[key] = value


def _described(value: object) -> str:
    name = getattr(value, "name", None)
    return shown(name) if isinstance(name, str) else shown(value)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")  # Python 2's str could be anything
