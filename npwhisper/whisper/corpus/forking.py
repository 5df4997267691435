"""Processes that are forked from one which has loaded everything, and so share its memory (Linux)."""

from __future__ import annotations

import os
import sys

VOCABULARY = "NPWHISPER_VOCABULARY"  # the environment variable that names the one to load


def share_memory(model: str) -> None:
    """Let joblib's processes on this machine begin as copies of one that has imported `loaded`.

    The setting belongs to the whole process, so only the command line makes it. Elsewhere than on Linux, where forked
    processes are not safe with the system's libraries, every process imports for itself. Which vocabulary `model` needs
    is guessed from its name; a wrong guess costs memory, since processes then load the right one.
    """
    if not sys.platform.startswith("linux"):
        return
    import multiprocessing

    from joblib.externals.loky.backend import context

    if context.get_start_method() is None:
        os.environ[VOCABULARY] = "gpt2" if ".en" in os.path.basename(model) else "multilingual"
        multiprocessing.set_forkserver_preload(["npwhisper.__main__", "npwhisper.whisper.corpus.loaded"])
        context.set_start_method("forkserver")
