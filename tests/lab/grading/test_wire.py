"""Messages between worker and grader: what is packed comes back, and no other bytes do anything but raise WireError."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npwhisper.lab.exercises import EXERCISES, load_cases
from npwhisper.lab.grading.wire import WireError, pack, unpack


def message(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "big") + text + data


@pytest.mark.parametrize("name", EXERCISES)
def test_the_inputs_of_every_task_come_back(name: str) -> None:
    for case in load_cases(name):
        np.testing.assert_equal(unpack(pack(case.arguments)), case.arguments)


@pytest.mark.parametrize(
    "array", [np.float32(1.5), np.zeros((0, 3)), np.arange(6).reshape(2, 3).T, np.array([1j, np.nan])]
)
def test_arrays_keep_type_shape_and_order(array: np.ndarray) -> None:
    back = unpack(pack([array]))[0]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable


def test_what_is_no_number_is_not_sent_as_an_array() -> None:
    with pytest.raises(WireError, match="only numbers"):
        pack(np.array([object()]))
    assert unpack(pack({"x": object(), "y": {1, 2}})) == {"x": "<object>", "y": "<set>"}


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        message({"array": ["|O", 1]}, b"\x00" * 8),
        message({"array": ["|V8", 1]}, b"\x00" * 8),
        message({"array": ["<f4", 2**62]}),
        message({"array": ["<f4", -1]}),
        message({"array": ["<f4", 4]}, b"\x00" * 15),
        message({"array": ["<f4", 1.5]}, b"\x00" * 6),
        message({"array": ["<f4", *[1] * 99]}, b"\x00" * 4),
        message({"array": ["f4, f4", 1]}, b"\x00" * 8),
        message({"array": 3}),
        message({"neither": 3}),
        (200_000).to_bytes(8, "big") + b"[" * 200_000,
        (6000).to_bytes(8, "big") + b"9" * 6000,
    ],
)
def test_hostile_messages_raise(hostile: bytes) -> None:
    with pytest.raises(WireError):
        unpack(hostile)


@given(st.binary(max_size=200))
@example(b"\x00" * 7 + b"\x02{}")
def test_any_bytes_are_a_value_or_a_wire_error(noise: bytes) -> None:
    for bytes_ in (noise, len(noise).to_bytes(8, "big") + noise):
        with suppress(WireError):
            unpack(bytes_)
