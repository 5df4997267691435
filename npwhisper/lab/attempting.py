"""Calling a function for a case, without judging the result.

`check` judges an attempt in the same process. Grading makes it in a worker process, which never has the expected
values, and judges it in the grader's process.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npwhisper.lab.exercises import Case, try_case
from npwhisper.tracing.seam import Array, Function
from npwhisper.tracing.swapping import describe, find_layer

NUMBERS = (np.ndarray, np.number, np.bool_, float, int)
UNWRITTEN = "it is not written yet"
MISSING = "nothing"


class Attempt(NamedTuple):
    """The outcome of two calls with the same arguments.

    `kind` is "array" if `result` and `again` are numeric arrays, otherwise the name of the type that was returned.
    `arguments` are those of the first call, after it. `error` and `mistake` are sentences if the function raised.
    """

    kind: str = MISSING
    result: Array | None = None
    again: Array | None = None
    arguments: Mapping[str, Any] = {}
    error: str = ""
    mistake: str = ""


def attempt(case: Case, function: Function) -> Attempt:
    """Call a function twice on copies of a case's arguments; `case.expected` is not used."""
    try:
        with np.errstate(all="ignore"):
            result, arguments = try_case(case, function)
            again, _ = try_case(case, function)
    except NotImplementedError:
        return Attempt(error=UNWRITTEN)
    except Exception as error:
        return Attempt(error=_where(error, function), mistake=_reason(error, case))
    kind, array = _as_array(result)
    return Attempt(kind, array, _as_array(again)[1], arguments)


def _as_array(value: Any) -> tuple[str, Array | None]:
    """A numeric array, or the name of the type it is instead."""
    if not isinstance(value, NUMBERS):
        return MISSING if value is None else type(value).__name__, None
    array = np.asarray(value)
    return ("array", array) if array.dtype.kind in "biufc" else (f"array of {array.dtype}", None)


def _where(error: Exception, function: Function) -> str:
    """The error, and the line of the student's code that raised it."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f", line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _reason(error: Exception, case: Case) -> str:
    """The likely mistake behind an error."""
    if isinstance(error, KeyError) and error.args == ("bias",):
        return "Whisper's key projections have no bias: add it only if there is one"
    if isinstance(error, TypeError) and "argument" in str(error):
        original = find_layer(case.layer)
        return f"the arguments are {describe(original)}" if original else ""
    if "broadcast" in str(error) and case.layer in ("softmax", "log_softmax", "layer_norm"):
        return "keepdims=True is missing: the maximum, sum or mean of each row must keep its axis"
    if "read-only" in str(error):
        return "an operation in place on an array that is not yours: work on a new one"
    if "matmul" in str(error) or "not aligned" in str(error):
        return "torch keeps weights as (out, in): multiply by weight.T" if "w" in case.arguments else ""
    return ""
