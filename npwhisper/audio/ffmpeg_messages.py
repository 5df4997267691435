"""What ffmpeg reports about a recording while it decodes: its sound tracks, its length, and what is damaged."""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple

from npwhisper.audio.mixing import Chosen, missing_channel
from npwhisper.audio.units import AudioError, AudioWarning

COUNTS = {"mono": 1, "stereo": 2, "quad": 4, "quad(side)": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}
DAMAGE = r"prematurely|partial file|while decoding|corrupt input packet|input/output error|backstep|error reading"
TRACK = r"Stream #(\d+:\d+)(?:\[\w+\])?(?:\((\w+)\))?: Audio: (.*)"


class Track(NamedTuple):
    """A sound track: ffmpeg's number of the stream, the language if the file names one, and the channel layout."""

    stream: str
    language: str
    layout: str

    @property
    def n_channels(self) -> int:
        """How many channels it has.

        >>> [Track("0:0", "", layout).n_channels for layout in ("mono", "5.1(side)", "3 channels", "downmix")]
        [1, 6, 3, 2]
        """
        numbers = re.match(r"(\d+)(?: channels|\.(\d+))", self.layout)
        return sum(int(n) for n in numbers.groups("0")) if numbers else COUNTS.get(self.layout, 2)

    @property
    def has_centre(self) -> bool:
        """Whether one of its channels is the centre."""
        return self.n_channels > 2 and not self.layout.startswith(("2.1", "quad"))


def tracks(told: str) -> list[Track]:
    """The sound tracks of the file that ffmpeg reads, in its order."""
    of_input = told.partition("Output #0")[0]
    return [Track(stream, language or "", _layout(rest)) for stream, language, rest in re.findall(TRACK, of_input)]


def _layout(description: str) -> str:
    layout = re.search(r"\d+ Hz, ([^,\n]+)", description)
    return layout[1].strip() if layout else ""


def chosen_track(told: str) -> int:
    """The number of the sound track that ffmpeg decodes: the one asked for, or the one that it considers the best."""
    mapped = re.search(r"Stream #(\d+:\d+) -> #0:0", told)
    streams = [track.stream for track in tracks(told)]
    return streams.index(mapped[1]) if mapped and mapped[1] in streams else 0


def check_chosen(told: str, name: str, chosen: Chosen) -> None:
    """Refuse a track or a channel that is not there; warn of further tracks if none was chosen."""
    found = tracks(told)
    if not found:
        return
    if chosen.track is not None and chosen.track >= len(found):
        have = "one sound track, number 0" if len(found) == 1 else f"{len(found)} sound tracks, 0 to {len(found) - 1}"
        raise AudioError(f"{name} has no sound track {chosen.track}: it has {have}")
    _check_channel(found[chosen_track(told)], chosen)
    if chosen.track is None and len(found) > 1:
        every = ", ".join(f"{i} ({track.language})" if track.language else str(i) for i, track in enumerate(found))
        message = f"{name} has {len(found)} sound tracks: {every}; track {chosen_track(told)} is read"
        warnings.warn(f"{message}; choose another with audio_track (--audio_track)", AudioWarning, stacklevel=2)


def _check_channel(track: Track, chosen: Chosen) -> None:
    """ffmpeg would give silence for a channel that is not there."""
    channel, n_channels = chosen.channel, track.n_channels
    if channel is None:
        return
    named = {"left": n_channels > 1, "right": n_channels > 1}
    if not (named.get(channel, track.has_centre) if isinstance(channel, str) else channel < n_channels):
        raise AudioError(missing_channel(channel, n_channels))


def damage(told: str, status: int) -> str | None:
    """What ffmpeg says about damage, in its own words, or None."""
    lines = re.findall(r"^(?:\[[^]]*\] )*\[(?:error|fatal|warning)\] (.*)", told, re.MULTILINE)
    found = [line for line in lines if re.search(DAMAGE, line, re.IGNORECASE)]
    reason = found[0] if found else f"exit status {status}" if status else None
    return reason and f"ffmpeg says {reason.rstrip('.')!r}"


def refusal(told: str) -> str:
    """Why ffmpeg gave nothing."""
    if refused := re.search(r"\[(\S+) @ \S+\] .*Format not on whitelist", told):
        return f"takes it for {refused[1]!r}, which is not among the formats that are read: playlists name other files"
    reason = re.sub(r"^(\[[^]]*\] )+", "", told.rpartition("\n")[2])
    return f"says {reason!r}; is it an audio file, and is it complete?"


def length(told: str) -> float:
    """The seconds that the container announces; 0 where ffmpeg guesses, or where other tracks may be longer."""
    found = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", told)
    is_alone = len(tracks(told)) == 1 and not re.search(r"Stream #.*: Video:", told)
    if not found or "Estimating duration" in told or not is_alone:
        return 0.0
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds
