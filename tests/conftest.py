"""Shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Why nothing can be mounted here, or nothing.
NO_FUSE = "" if Path("/dev/fuse").exists() else "no /dev/fuse on this machine"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests without a mount prove little: say so where it cannot be overlooked."""
    if NO_FUSE:
        terminalreporter.section("NOTHING WAS MOUNTED")
        terminalreporter.line(f"{NO_FUSE}: only plain directories were tested")
