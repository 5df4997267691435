"""One thread for torch: two that must wait for a busy core take 20 times as long for a step of a beam search."""

from __future__ import annotations

import pytest
import upstream

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell of every near tie, or that there was none."""
    terminalreporter.write_line(f"near ties: {len(upstream.NEAR_TIES)}")
    for tie in upstream.NEAR_TIES:
        terminalreporter.write_line(f"  {tie}")
