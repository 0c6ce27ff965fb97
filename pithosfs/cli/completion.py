"""``pithosfs completion``: what the Tab key needs to know."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from pithosfs.cli import arguments
from pithosfs.cli.exits import ExitCode
from pithosfs.options import LOG_LEVELS

_DESCRIPTION = """\
Print a completion script for a shell.

Example:
  pithosfs completion bash > ~/.local/share/bash-completion/completions/pithosfs
  pithosfs completion zsh > ~/.zfunc/_pithosfs           (with ~/.zfunc in fpath)
  pithosfs completion fish > ~/.config/fish/completions/pithosfs.fish
"""

_SHELLS = ("bash", "zsh", "fish")
_FILES, _DIRECTORIES = {"FILE", "PATH", "TARGET", "GOAL", "NEW"}, {"DIR", "MOUNTPOINT"}


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parser."""
    parser = arguments.add_command(
        commands, "completion", run, "print a shell's completion script", _DESCRIPTION
    )
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=", ".join(_SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script, made from the same parsers as --help."""
    import shtab

    from pithosfs.cli import parser

    whole = parser()
    for action in _actions(whole):
        if action.metavar in _FILES or action.dest == "sources":
            action.complete = shtab.FILE
        elif action.metavar in _DIRECTORIES:
            action.complete = shtab.DIRECTORY
        elif action.metavar == "LEVEL":
            action.choices = LOG_LEVELS
    print(shtab.complete(whole, args.shell))
    return ExitCode.OK


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """All arguments of all commands, which get their summary for description: a line is what shells show."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for summary in action._choices_actions:
                action.choices[summary.dest].description = summary.help
            for each in action.choices.values():
                yield from _actions(each)
