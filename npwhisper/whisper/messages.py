"""How the command line reports a failure: as one line, or not at all if nobody reads it."""

from __future__ import annotations

import os
import sys


def failure(error: Exception | str, subject: str = "") -> str:
    """An error as one line that names what it is about.

    >>> failure(ValueError("too loud"), "'talk.wav'"), failure("'talk.wav' is too loud", "'talk.wav'")
    ("npwhisper: 'talk.wav': too loud", "npwhisper: 'talk.wav' is too loud")
    >>> failure(RuntimeError("the hub says:\\nno network"))  # the error of another library may have several lines
    'npwhisper: the hub says: no network'
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(line.strip() for line in text.splitlines())
    return ": ".join(["npwhisper", *([subject] if subject and subject not in text else []), text or repr(error)])


def discard_output() -> None:
    """Let what is still to be printed go nowhere if the process that read it has ended."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
