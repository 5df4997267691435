"""How the command line reports a failure: as one line."""

from __future__ import annotations


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
