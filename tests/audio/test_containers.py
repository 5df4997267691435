"""The end that the headers of a container announce, on files written by hand."""

from __future__ import annotations

import struct

import pytest

from npwhisper.audio.containers import ASF, ASF_PROPERTIES, announcement


def asf(n_packets: int, count: int, is_live: bool = False, size: int = 300) -> bytes:
    """An ASF file: another object, its properties, then packets."""
    other = bytes(16) + struct.pack("<Q", 30) + bytes(6)
    about = struct.pack("<QQQQQQIII", 0, 0, count, 0, 0, 0, int(is_live), size, size)
    properties = ASF_PROPERTIES + struct.pack("<Q", 24 + 16 + len(about)) + bytes(16) + about
    header = struct.pack("<QIH", 30 + len(other) + len(properties), 2, 0x201) + other + properties
    return ASF + header + bytes(50) + n_packets * (b"\x82\0\0" + bytes(size - 3))


def test_a_windows_media_file_counts_its_packets() -> None:
    whole = asf(400, 400)
    assert announcement(whole, 20.0, 20.1) == (20.1, None)
    start = len(whole) - 400 * 300
    announced, damage = announcement(whole[: start + 300 * 300], 15.0, 0.0)
    assert announced == pytest.approx(20.0, rel=2e-3)
    assert damage is None
    assert announcement(whole + b"index", 20.0, 0.0)[0] <= 20.0


def test_one_that_was_written_to_a_pipe_ends_with_a_whole_packet() -> None:
    whole = asf(400, 0, is_live=True)
    assert announcement(whole, 20.0, 0.0) == (0.0, None)
    assert announcement(whole + bytes(100), 20.0, 0.0) == (0.0, None)
    assert announcement(whole[:-1], 20.0, 0.0) == (0.0, "it ends within a packet")


@pytest.mark.parametrize("size", [0, 5, 29, 31, 60, 130])
def test_a_broken_header_tells_nothing(size: int) -> None:
    assert announcement(asf(1, 1)[:size] or b"\0", 3.0, 4.0) == (4.0, None)


def test_riff_and_real_media_state_their_sizes() -> None:
    riff = b"RIFF" + struct.pack("<I", 992) + bytes(992)
    assert announcement(riff, 10.0, 0.0) == (10.0, None)
    assert announcement(riff[:500], 5.0, 0.0) == (10.0, None)
    assert announcement(riff + riff[:500], 15.0, 0.0) == (20.0, None)
    assert announcement(riff + b"junk", 10.0, 0.0)[0] <= 10.0
    real = b"".join(name + struct.pack(">I", 250) + bytes(242) for name in (b".RMF", b"PROP", b"MDPR", b"DATA"))
    assert announcement(real, 10.0, 0.0) == (10.0, None)
    assert announcement(real[:800], 8.0, 0.0) == (10.0, None)
    assert announcement(real[:754] + bytes(246), 8.0, 3600.0) == (0.0, None)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_where_a_size_is_left_open_no_length_is_believed(size: int) -> None:
    assert announcement(b"RIFF" + struct.pack("<I", size) + bytes(500), 5.0, 1185.1) == (0.0, None)


def test_other_files_are_as_long_as_ffmpeg_says() -> None:
    assert announcement(b"\x1a\x45\xdf\xa3" + bytes(500), 5.0, 7.0) == (7.0, None)
