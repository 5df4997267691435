"""In a browser, the embedded weights can lie beside the page: one file of 75 MB that no wheel has to carry twice.

The site says where with an environment variable; they are fetched when they are first needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from npwhisper.checkpoint.contents import CheckpointError
from npwhisper.checkpoint.replacing import replacing

URL = "NPWHISPER_EMBEDDED_URL"  # an address, also one relative to the worker in which Python runs


def fetch_to(path: Path) -> bool:
    """Write what the site offers as embedded weights to a file; false if it offers none.

    Raises
    ------
    CheckpointError
        If the server does not give the file.
    """
    if not (url := os.environ.get(URL)):
        return False
    from js import XMLHttpRequest

    request = XMLHttpRequest.new()
    request.open("GET", url, False)  # Python waits, as for a file
    request.responseType = "arraybuffer"
    request.send()
    if request.status != 200:
        raise CheckpointError(f"{url} gave status {request.status} instead of the weights: load the page again")
    with replacing(path) as file:
        request.response.to_file(file)
    return True
