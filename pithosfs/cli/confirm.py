"""Asking before something cannot be undone."""

from __future__ import annotations

import argparse
import sys

from pithosfs.cli import output
from pithosfs.cli.exits import CommandError


def add_yes(parser: argparse.ArgumentParser) -> None:
    """The option that answers the question beforehand."""
    parser.add_argument("-y", "--yes", action="store_true", default=False, help="do not ask")


def ask(args: argparse.Namespace, question: str) -> None:
    """Go on only if the answer is yes.  Raises CommandError."""
    if args.yes:
        return
    print(f"{output.plain(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n") or not sys.stdin.isatty():
        print(file=sys.stderr)
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done" if answer else "nothing was done: --yes answers for you")
