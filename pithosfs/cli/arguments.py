"""From the table of options to argparse, shared by the commands."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pithosfs.cli import output
from pithosfs.errors import ConfigError
from pithosfs.options import (
    ALONE,
    CONNECTION_OPTIONS,
    MountOptions,
    Option,
    default_text,
    parse_mount_words,
    parse_path,
    typed,
)

if TYPE_CHECKING:
    from pithosfs.config import Connection

Subparsers = Any  # argparse keeps the class of add_subparsers() to itself


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines; option names stand in one column."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line; the usage is a --help away."""

    def error(self, message: str) -> NoReturn:
        """End with the line, and exit code 2 as argparse does."""
        self.exit(2, f"{self.prog}: {output.plain(message)}; see: {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse does it, but an OSError (a full disk) is no secret."""
        if message:
            (file or sys.stderr).write(message)

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """End with a line about ``words`` nothing was made of, if there are any."""
        if words:
            loose = not any(each.startswith("-") for each in words)
            hint = " (words that belong together want quotes)" if loose else ""
            self.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def add_command(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
) -> Parser:
    """A command's parser: ``summary`` for the list, ``description`` with an example for its own help."""
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """``--name`` for each of ``options``, under the headings of their groups.

    What is not given does not appear in the namespace.
    """
    groups: dict[str, Any] = {}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add_option(groups[option.group], option)


def _add_option(group: Any, option: Option) -> None:
    flags = [f"--{option.name}", *(["-f"] if option.name == "foreground" else [])]
    if option.parse is None:
        group.add_argument(*flags, dest=option.key, action="store_true", help=option.help)
        return
    default = default_text(option.key)
    text = f"{option.help} (default {default})" if default else option.help
    group.add_argument(
        *flags,
        dest=option.key,
        metavar=option.metavar,
        nargs=None if option.alone is None else "?",
        type=typed(option.parse),
        help=text if option.alone is None else f"{text} (alone: {option.alone})",
    )


def add_cache_directory(parser: argparse.ArgumentParser, text: str) -> None:
    """Let a command that mounts nothing be told where mounts keep their data; ``text`` is its help."""
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        type=typed(parse_path),
        default=MountOptions().cache_path(),
        help=text,
    )


def completed(words: Sequence[str]) -> list[str]:
    """``--write-back`` as ``--write-back=5s``, so that it never takes the word after it as its value."""
    given = list(words)
    end = given.index("--") if "--" in given else len(given)
    return [f"{each}={ALONE[each]}" if each in ALONE else each for each in given[:end]] + given[end:]


class MountWords(argparse.Action):
    """``-o a,b=c``: sets what the long options would set; the later one wins."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 (argparse's signature)
    ) -> None:
        """Read the words and put them into ``namespace``."""
        try:
            given = parse_mount_words(str(values))
        except ValueError as error:
            parser.error(str(error))
        flags = given.pop("fuse", ())
        if flags:
            namespace.fuse = (*getattr(namespace, "fuse", ()), *flags)  # type: ignore[misc]
        for key, value in given.items():
            setattr(namespace, key, value)


class Verbose(argparse.Action):
    """``-v``, ``-vv``: a log level."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 (argparse's signature)
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """One level more."""
        namespace.log_level = "debug" if getattr(namespace, "log_level", "") in ("info", "debug") else "info"


def connection(args: argparse.Namespace) -> Connection:
    """The account the arguments, the environment and kamaki's file name.  Raises ConfigError."""
    from pithosfs import config  # commands without an account do without it

    given = {each.key: getattr(args, each.key) for each in CONNECTION_OPTIONS if each.key in args}
    _refuse_directory(given.get("config"), "--config")
    if "config" not in given and (named := os.environ.get("KAMAKI_CONFIG")):
        _refuse_directory(Path(named), "KAMAKI_CONFIG")
    found = config.load(**given)
    os.environ.pop(config.TOKEN_VARIABLE, None)  # read by now; programs we start need it not
    return found


def _refuse_directory(path: Path | None, what: str) -> None:
    if path is not None and path.is_dir():
        raise ConfigError(f"{what}: {path} is a directory, name the file in it")


def as_typed(settings: Mapping[str, object]) -> str:
    """Options that lead to an account, as they are typed: ``--cloud okeanos --account UUID``."""
    given = ((each.name, settings[each.key]) for each in CONNECTION_OPTIONS if each.key in settings)
    return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given)


def account_settings(args: argparse.Namespace, connection: Connection) -> dict[str, str]:
    """The options that lead to the account again, from another process; none of them is a token."""
    given = {each.key: str(getattr(args, each.key)) for each in CONNECTION_OPTIONS if each.key in args}
    if connection.cloud:
        given["cloud"] = connection.cloud
        if named := os.environ.get("KAMAKI_CONFIG"):
            given.setdefault("config", str(parse_path(named)))
    return given
