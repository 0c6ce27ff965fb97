"""What all tests share."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or to think of one, tells of the machine.
settings.register_profile("pithosfs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pithosfs")

#: Why nothing can be mounted here, or nothing.
NO_FUSE = "" if Path("/dev/fuse").exists() else "no /dev/fuse on this machine"


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs tests start: what a background job of a shell starts ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as ``summary``: figures and what was really run."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "summary" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {text}")
    terminalreporter.line(kamaki_summary(terminalreporter.stats))
    # Tests without a mount prove little: say so where it cannot be overlooked.
    if NO_FUSE:
        terminalreporter.section("NOTHING WAS MOUNTED")
        terminalreporter.line(f"{NO_FUSE}: only plain directories were tested")


def kamaki_summary(stats: dict[str, list[Any]]) -> str:
    """One line on whether the real kamaki was tried, so that its absence cannot be overlooked."""
    counts = {
        outcome: sum("test_kamaki" in getattr(each, "nodeid", "") for each in stats.get(outcome, ()))
        for outcome in ("passed", "failed", "skipped")
    }
    if counts["passed"] or counts["failed"]:
        return f"the real kamaki under Python 2.7: {counts['passed']} passed, {counts['failed']} failed"
    why = "no Python 2.7 was found, or kamaki could not be installed" if counts["skipped"] else "not selected"
    return f"the real kamaki under Python 2.7: NOT RUN ({why})"
