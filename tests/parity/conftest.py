"""One thread for torch: two that must wait for a busy core take 20 times as long for a step of a beam search."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
