"""What can be set when mounting, and how its text is read.

One table, :data:`OPTIONS`, names every option once: the command line makes
``--dir-cache-time 5s`` of an entry, and ``-o dir-cache-time=5s`` (as mount(8)
and /etc/fstab pass it) reads the same entry.  Defaults stand in
:class:`MountOptions` and nowhere else.
"""

from __future__ import annotations

import argparse
import dataclasses
import grp
import pwd
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How a mount behaves; sizes in bytes, times in seconds.

    ``cache_dir`` None means the user's cache directory (:meth:`cache_path`).
    ``fuse`` holds generic mount flags handed to the kernel as they are.
    """

    read_only: bool = False
    create: bool = False
    uid: int | None = None
    gid: int | None = None
    umask: int = 0o022
    allow_other: bool = False
    cache_dir: Path | None = None
    cache_size: int = 10 * GIB
    memory: int = 256 * MIB
    dir_cache_time: float = 5.0
    timeout: float = 60.0
    write_back: float | None = None
    at: str | None = None
    shared: bool = False
    max_threads: int = 16
    foreground: bool = False
    retry: float = 0.0
    log_file: Path | None = None
    log_level: str = "warning"
    fuse: tuple[str, ...] = ()

    def cache_path(self) -> Path:
        """The directory of the disk cache."""
        return self.cache_dir or Path(platformdirs.user_cache_dir("pithosfs"))


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``name`` as typed after ``--``; ``parse`` None makes it a switch.

    ``parse`` raises ValueError with a message for a person.  An option with
    ``alone`` may stand without ``=VALUE`` and means that value then.
    """

    name: str
    group: str
    help: str
    metavar: str = ""
    parse: Callable[[str], object] | None = None
    alone: str | None = None

    @property
    def key(self) -> str:
        """The option's name in Python: the field of :class:`MountOptions`."""
        return self.name.replace("-", "_")


# -- reading values -------------------------------------------------------------

_SIZE_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}
#: Bytes, and seconds (a hundred years): what comes after is more than the system takes.
_LARGEST, _LONGEST = 2**62, 3_155_760_000
_HIGHEST_ID = 2**32 - 2
_DURATION_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """``10G``, ``512M``, ``1.5GiB`` or plain bytes, in powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"'{text}' is no size: write it like 512M or 10G")
    size = float(match[1]) * _SIZE_UNITS[match[2].lower()]
    if size > _LARGEST:
        raise ValueError(f"'{_short(text)}' is too large")
    return int(size)


def parse_duration(text: str) -> float:
    """Seconds: ``5``, ``5s``, ``500ms``, ``2m``, ``1h``, ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"'{text}' is no duration: write it like 5s, 2m or 500ms")
    seconds = float(match[1]) * _DURATION_UNITS[match[2].lower()]
    if seconds > _LONGEST:
        raise ValueError(f"'{_short(text)}' is too long")
    return seconds


def parse_positive_duration(text: str) -> float:
    """A duration above zero."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"'{text}' must be more than zero")
    return seconds


def parse_umask(text: str) -> int:
    """An octal mask such as ``022``."""
    if not re.fullmatch(r"(0o)?[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise ValueError(f"'{text}' is no umask: write it in octal, like 022")
    return int(text, 8)


def parse_count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"'{text}' is no number of at least 1")
    return int(text)


def parse_user(text: str) -> int:
    """A user's number, by number or by name."""
    if text.isascii() and text.isdigit():
        return _parse_id(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"there is no user '{text}'") from None


def parse_group(text: str) -> int:
    """A group's number, by number or by name."""
    if text.isascii() and text.isdigit():
        return _parse_id(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"there is no group '{text}'") from None


def _parse_id(text: str) -> int:
    if len(text) > 10 or int(text) > _HIGHEST_ID:
        raise ValueError(f"'{_short(text)}' is too large for the number of a user or group")
    return int(text)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def parse_path(text: str) -> Path:
    """An absolute path: a mount in the background works from ``/``."""
    if not text:
        raise ValueError("the path is empty")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"'{text}': there is no such user, or no home directory") from None


def parse_level(text: str) -> str:
    """A log level by name, in any case."""
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"'{text}' is no log level: use one of {', '.join(LOG_LEVELS)}")
    return text.lower()


def parse_text(text: str) -> str:
    """Any text but the empty one."""
    if not text:
        raise ValueError("the value is empty")
    return text


def typed(parse: Callable[[str], object]) -> Callable[[str], object]:
    """``parse`` for argparse, which shows the text of its own error only, not of a ValueError."""

    def parsed(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


# -- the table --------------------------------------------------------------------

_CONNECTION = "which account (default: kamaki's configuration)"
_FILES = "what the files look like"
_CACHE = "caches and limits"
_PROCESS = "the mount's process"

CONNECTION_OPTIONS = (
    Option(
        "config",
        _CONNECTION,
        "kamaki's configuration file (default: what KAMAKI_CONFIG names, else ~/.kamakirc)",
        "FILE",
        parse_path,
    ),
    Option("cloud", _CONNECTION, "the cloud of that file (default: its default_cloud)", "NAME", parse_text),
    Option(
        "url",
        _CONNECTION,
        "the storage endpoint; no configuration file is needed then, but --account and a token",
        "URL",
        parse_text,
    ),
    Option(
        "account",
        _CONNECTION,
        "the account's UUID (default: the token's own; with --url it must be given)",
        "UUID",
        parse_text,
    ),
    Option(
        "token-file",
        _CONNECTION,
        "read the token from this file (default: the variable PITHOSFS_TOKEN, else the configuration file)",
        "FILE",
        parse_path,
    ),
    Option("token-command", _CONNECTION, "read the token from what this command prints", "CMD", parse_text),
)

MOUNT_OPTIONS = (
    Option("read-only", _FILES, "refuse every change"),
    Option(
        "at",
        _FILES,
        "show it as it was then: '2026-11-01 10:00', yesterday, '2 hours ago'",
        "TIME",
        parse_text,
    ),
    Option("shared", _FILES, "with SOURCE /: what others share with you, a directory an account"),
    Option("create", _FILES, "make the container if it does not exist"),
    Option("uid", _FILES, "the user all files belong to (default: you)", "USER", parse_user),
    Option("gid", _FILES, "the group all files belong to (default: yours)", "GROUP", parse_group),
    Option("umask", _FILES, "permissions taken away from files without a mode", "MASK", parse_umask),
    Option("allow-other", _FILES, "let other users of this machine in"),
    Option("cache-dir", _CACHE, "where blocks are kept on disk", "DIR", parse_path),
    Option("cache-size", _CACHE, "how much may be kept there", "SIZE", parse_size),
    Option("memory", _CACHE, "memory for blocks and unsent data", "SIZE", parse_size),
    Option("dir-cache-time", _CACHE, "how long a listing is trusted", "TIME", parse_duration),
    Option("timeout", _CACHE, "give up on a silent server after this", "TIME", parse_positive_duration),
    Option(
        "write-back",
        _CACHE,
        "close returns once the data is on the local disk, and it is sent after this",
        "TIME",
        parse_duration,
        alone="5s",
    ),
    Option("max-threads", _CACHE, "file operations at the same time", "N", parse_count),
    Option("foreground", _PROCESS, "stay in the foreground; Ctrl-C unmounts"),
    Option("retry", _PROCESS, "try for so long to reach the server before giving up", "TIME", parse_duration),
    Option("log-file", _PROCESS, "append the log to this file (default: stderr)", "FILE", parse_path),
    Option("log-level", _PROCESS, "one of " + ", ".join(LOG_LEVELS), "LEVEL", parse_level),
)

OPTIONS = CONNECTION_OPTIONS + MOUNT_OPTIONS

#: What options that may stand alone mean then, by how they are typed.
ALONE = {f"--{option.name}": option.alone for option in OPTIONS if option.alone is not None}

_BY_KEY = {option.key: option for option in OPTIONS}

#: Flags of mount(8) that the kernel applies to any file system.
_KERNEL_FLAGS = frozenset(
    "suid nosuid dev nodev exec noexec atime noatime sync async dirsync".split()  # noqa: SIM905 (reads as mount(8) lists them)
)
#: Words of /etc/fstab that are meant for mount(8), systemd or a desktop.
_OTHERS_WORDS = frozenset(
    "defaults auto noauto user nouser users owner group nofail _netdev _rnetdev comment "  # noqa: SIM905
    "relatime norelatime strictatime nostrictatime diratime nodiratime lazytime nolazytime "
    "iversion noiversion mand nomand loud silent".split()
)


# -- ``-o a,b=c`` -----------------------------------------------------------------


def parse_mount_words(text: str) -> dict[str, object]:
    """What ``-o text`` sets: Python names of options to values.

    Knows every long option (``-`` and ``_`` are the same), ``ro`` and ``rw``,
    the kernel's own flags and ``fsname=``, the source it lists (both gathered
    under ``fuse``), and passes over words that /etc/fstab has for others.
    ``\\,`` is a comma inside a value.

    Raises ValueError, with a message for a person, for anything else.
    """
    given: dict[str, object] = {}
    flags: list[str] = []
    for word in _split(text):
        name, equals, value = word.partition("=")
        if name in ("ro", "rw"):
            given["read_only"] = name == "ro"
        elif name in _KERNEL_FLAGS:
            flags.append(name)
        elif name == "fsname" and value:
            flags.append(f"fsname={escape(value)}")
        elif not _is_for_others(name):
            key, parsed = _parse_word(name, value if equals else None)
            given[key] = parsed
    if flags:
        given["fuse"] = tuple(flags)
    return given


def _parse_word(name: str, value: str | None) -> tuple[str, object]:
    option = _BY_KEY.get(name.replace("-", "_"))
    if option is None:
        raise ValueError(f"unknown mount option '{name}' (pithosfs mount --help lists them all)")
    if option.parse is None:
        if value is not None:
            raise ValueError(f"mount option '{name}' takes no value")
        return option.key, True
    value = option.alone if value is None else value
    if value is None:
        raise ValueError(f"mount option '{name}' needs a value: {name}={option.metavar}")
    try:
        return option.key, option.parse(value)
    except ValueError as error:
        raise ValueError(f"mount option '{name}': {error}") from None


def _is_for_others(name: str) -> bool:
    return name in _OTHERS_WORDS or name.startswith(("x-", "X-"))


def escape(value: str) -> str:
    """``value`` as it stands in a list of words, commas and all."""
    return re.sub(r"([,\\])", r"\\\1", value)


def _split(text: str) -> Iterator[str]:
    """The words between commas, ``\\`` taking away the next character's meaning."""
    for word in re.findall(r"(?:\\.|[^,\\]|\\$)+", text):
        yield re.sub(r"\\(.)", r"\1", word).strip()


# -- from settings to options -------------------------------------------------------


def mount_options(given: dict[str, object]) -> MountOptions:
    """:class:`MountOptions` from what was set, the defaults for all else.

    Keys that are no field (the connection's, for instance) are passed over.
    """
    fields = {field.name for field in dataclasses.fields(MountOptions)}
    return dataclasses.replace(MountOptions(), **{k: v for k, v in given.items() if k in fields})  # type: ignore[arg-type]  # values come parsed from the table


def default_text(key: str) -> str:
    """How a default is shown in ``--help``; empty where it says nothing."""
    default = getattr(MountOptions(), key, None)
    match key:
        case "umask":
            return f"{default:03o}"
        case "cache_dir":
            return str(MountOptions().cache_path()).replace(str(Path.home()), "~", 1)
        case "cache_size" | "memory":
            return format_size(int(default or 0))
        case "dir_cache_time" | "timeout" | "retry":
            return f"{default:g}s"
        case _:
            return str(default) if isinstance(default, (int, str)) and not isinstance(default, bool) else ""


def format_size(size: float) -> str:
    """Bytes for a person: ``256M``, ``1.5G``."""
    for unit in ("", "K", "M", "G", "T"):
        if abs(size) < KIB or unit == "T":
            break
        size /= KIB
    return f"{size:.1f}".rstrip("0").rstrip(".") + (unit or "B")
