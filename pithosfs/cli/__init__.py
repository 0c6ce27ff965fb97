"""The command line: one small module a command.

A command's module has ``add(commands)``, which makes its parser and names the
function to run; a new command is such a module of its name, and a word in
``_COMMANDS``.  Of all of them only the one that is asked for is imported.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from pithosfs import __version__
from pithosfs.cli import exits, output
from pithosfs.cli.arguments import Formatter, Parser, completed
from pithosfs.cli.exits import ExitCode

_COMMANDS = (
    *("mount", "umount", "status", "pending", "doctor", "serve", "demo", "completion"),
    *("versions", "diff", "restore", "trash", "purge"),
    *("publish", "unpublish", "share", "shared"),
    *("upload", "download"),
    *("refresh", "warm", "cache", "du"),
)

_MODULES = {"unpublish": "publish"}  # where that is not the command's name

_DESCRIPTION = """\
Mount a container of a Pithos+ object store as a directory.

The account comes from kamaki's configuration file (~/.kamakirc), or from
--url and a token; `pithosfs COMMAND --help` tells more of each command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is an :class:`~pithosfs.cli.exits.ExitCode`."""
    output.prepare()
    words = completed(sys.argv[1:] if argv is None else argv)
    command = next((each for each in words[:1] if each in _COMMANDS), None)
    code = exits.guarded(command, lambda: _run(command, words))
    return int(exits.flushed(command, code))


def _run(command: str | None, words: Sequence[str]) -> int:
    whole = parser(_COMMANDS if command is None else [command])
    try:
        if not words:
            whole.print_help()
            return ExitCode.USAGE
        if not words[0].startswith("-") and command is None:
            _refuse(whole, words[0])
        args, unknown = whole.parse_known_args(words)
        args.parser.refuse_unknown(unknown)
    except SystemExit as stop:  # argparse has said everything: help, version or what is wrong
        return int(stop.code or 0)
    return int(args.run(args))


def _refuse(whole: Parser, word: str) -> None:
    close = difflib.get_close_matches(word, _COMMANDS, n=1)
    whole.error(f"there is no command '{word}'" + (f", maybe you mean {close[0]}" if close else ""))


def parser(names: Sequence[str] = _COMMANDS) -> Parser:
    """The command line, with these commands."""
    top = Parser(
        prog="pithosfs",
        description=_DESCRIPTION,
        epilog=exits.documented(),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"pithosfs {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in dict.fromkeys(_MODULES.get(each, each) for each in names):
        importlib.import_module(f"{__name__}.{module}").add(commands)
    return top
