"""What the runs by hand (crash, storm, soak) take in common on their command lines."""

from __future__ import annotations

import argparse
import random


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser that takes ``--seed``; it says the first line of ``documentation``."""
    made = argparse.ArgumentParser(description=documentation.splitlines()[0] if documentation else None)
    made.add_argument("--seed", type=int, default=None, help="default: a random one, which is printed")
    return made


def add_write_back(made: argparse.ArgumentParser) -> None:
    """Let it take ``--write-back``, for :func:`mount_options`."""
    made.add_argument("--write-back", metavar="SECONDS", help="mount with --write-back=SECONDS")


def seed_of(given: argparse.Namespace) -> int:
    """The seed that was given, or a random one."""
    return random.SystemRandom().randrange(1 << 32) if given.seed is None else int(given.seed)


def mount_options(given: argparse.Namespace) -> tuple[str, ...]:
    """What a mount is to be given besides what the run gives it anyway."""
    return (f"--write-back={given.write_back}",) if given.write_back else ()
