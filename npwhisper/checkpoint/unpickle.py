"""Reading a pickle without running it.

A pickle is a program for a small stack machine: "push this text, push that number, make a tuple of the last five, call
the function named so-and-so with it". Python's own machine imports and calls *any* function it is told to, so opening a
stranger's file with it is running a stranger's program. This machine knows only the instructions below, and the only
functions that exist for it are those of `torch_globals`: ours, each of which makes a plain value out of plain values.

Why that is safe: nothing is imported by name (a name outside the table raises, with the name); REDUCE calls an entry
of the table and nothing else; BUILD, which would set attributes or call `__setstate__`, throws its state away; NEWOBJ,
INST, OBJ and the extension registry do not exist. No step takes longer for a larger value, the number of steps and the
length of the program are bounded, and dict keys are only texts and integers (hashing nested tuples can take forever).

Why not `pickle.Unpickler` with a `find_class` of our own: it bounds which names exist, but neither steps nor memory,
and its BUILD still sets attributes and calls ``__setstate__``.

Source: Python's pickletools, which documents and decodes every instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.torch_globals import GLOBALS, Function, Storage, dict_key

MODULES = (" Whisper", " WhisperModel", " WhisperForConditionalGeneration")  # what people save instead of weights
MOST_STEPS = 2_000_000
_MARK = object()


@dataclass
class _Machine:
    """The stack, the memo of values that are used again, and who answers for a persistent id."""

    load_storage: Callable[[Any], Storage]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (top := self.stack.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple([self.stack.pop() for _ in range(count)][::-1])


def _global(name: str) -> Any:
    if name not in GLOBALS and name.endswith(MODULES):
        raise CheckpointError(
            f"the file is a whole pickled module ({name[:80].replace(' ', '.')}), which only its own code can open: "
            "load it there, and torch.save({'dims': vars(model.dims), 'model_state_dict': model.state_dict()}, path), "
            "or, from transformers, model.save_pretrained(folder)"
        )
    if name not in GLOBALS:
        raise CheckpointError(
            f"the pickle names {name[:120].replace(' ', '.')!r}, which a checkpoint does not need, and it is refused: "
            "save only the state dict (torch.save({'dims': ..., 'model_state_dict': model.state_dict()}, path))"
        )
    return GLOBALS[name]


def _set_items(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict or len(items) % 2:
        raise CheckpointError("the pickle sets items of something that is not a dict: the file is broken")
    for i in range(0, len(items), 2):
        target[dict_key(items[i])] = items[i + 1]


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise CheckpointError("the pickle appends to something that is not a list: the file is broken")
    target.extend(items)


def _reduce(machine: _Machine, _: Any) -> None:
    function, arguments = machine.pop_many(2)
    if type(function) is not Function or type(arguments) is not tuple:
        raise CheckpointError("the pickle calls something that is not a function of the closed table: refused")
    machine.push(function.call(*arguments))


def _stack_global(machine: _Machine, _: Any) -> None:
    module, name = machine.pop_many(2)
    if type(module) is not str or type(name) is not str:
        raise CheckpointError("the pickle names a global by something that is not a string: the file is broken")
    machine.push(_global(f"{module} {name}"))


def _remember(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


_LITERALS = ["BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"]
_LITERALS += ["BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"]
_LITERALS += ["BINBYTES", "SHORT_BINBYTES"]
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(_LITERALS, _Machine.push),
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP": lambda machine, _: machine.pop(),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(machine.pop_many(1)),
    "TUPLE2": lambda machine, _: machine.push(machine.pop_many(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.pop_many(3)),
    "SETITEM": lambda machine, _: _set_items(machine, list(machine.pop_many(2))),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_to_mark()),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "GLOBAL": lambda machine, name: machine.push(_global(name)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": lambda machine, _: machine.pop(),
    "BINPERSID": lambda machine, _: machine.push(machine.load_storage(machine.pop())),
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": _remember,
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
}


def _argument(kind: Any, stream: BinaryIO) -> Any:
    """The bytes that belong to an instruction, as a value (pickletools would look for escapes in the two names)."""
    if kind is None:
        return None
    if kind.name == "stringnl_noescape_pair":
        return " ".join(stream.readline().decode().rstrip("\n") for _ in range(2))
    return kind.reader(stream)


def _no_storage(_: Any) -> Storage:
    raise CheckpointError("the pickle refers to a storage where none can be: the file is broken")


def unpickle(stream: BinaryIO, load_storage: Callable[[Any], Storage] = _no_storage) -> Any:
    """The value of one pickle, made of dicts, lists, tuples, texts, numbers, `Storage`s and `Tensor`s.

    stream: read up to and including the pickle's last instruction; load_storage: persistent id -> Storage

    >>> import io, pickle
    >>> unpickle(io.BytesIO(pickle.dumps({"n_mels": 80, "layers": [1, 2]})))
    {'n_mels': 80, 'layers': [1, 2]}
    """
    try:
        return _run(stream, load_storage)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(
            "the pickle in the file is truncated or broken: download or save the file again"
        ) from error


def _run(stream: BinaryIO, load_storage: Callable[[Any], Storage]) -> Any:
    from pickletools import opcodes

    known = {opcode.code.encode("latin-1"): opcode for opcode in opcodes}
    machine = _Machine(load_storage)
    for step in range(MOST_STEPS):
        opcode = known[stream.read(1)]
        if opcode.name == "STOP":
            return machine.pop()
        if opcode.name not in _INSTRUCTIONS:
            raise CheckpointError(f"the pickle uses {opcode.name} at step {step}, which no checkpoint needs: refused")
        _INSTRUCTIONS[opcode.name](machine, _argument(opcode.arg, stream))
    raise CheckpointError(f"the pickle has more than {MOST_STEPS} steps, which no checkpoint needs: refused")
