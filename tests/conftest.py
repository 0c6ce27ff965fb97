"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Why nothing can be mounted here, or nothing.
NO_FUSE = "" if Path("/dev/fuse").exists() else "no /dev/fuse on this machine"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as ``summary``: figures and what was really run."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "summary" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {text}")
    # Tests without a mount prove little: say so where it cannot be overlooked.
    if NO_FUSE:
        terminalreporter.section("NOTHING WAS MOUNTED")
        terminalreporter.line(f"{NO_FUSE}: only plain directories were tested")
