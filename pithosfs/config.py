"""Which store, account and token: kamaki's file, the environment, arguments.

The only reader of any of them.  The file is the one kamaki uses, with its
syntax and its rules (clouds, defaults); it is never written.  Arguments win
over the environment, the environment over the file.

Tokens stay where they are: a :class:`TokenSource` reads them anew each time
one is needed, so that a renewed token is found without a restart, and none of
them ever shows in a ``repr`` or in a message.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pithosfs.errors import ConfigError

log = logging.getLogger(__name__)

#: The variable a token may be given in.
TOKEN_VARIABLE = "PITHOSFS_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_CONTAINER = "pithos"
DEFAULT_TYPE = "object-store"
#: Seconds a token command may take (it may ask a person).
TOKEN_COMMAND_TIMEOUT = 60.0

_CLOUD = re.compile(r'cloud "([~@#$.:\-\w]+)"', re.ASCII)


class TokenSource:
    """Where tokens come from; ``name`` says it in messages."""

    name = "nowhere"

    def read(self) -> list[str]:
        """The tokens to try, in this order, as they are now.

        ConfigError if there are none or they cannot be read.
        """
        raise ConfigError("there is no token")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"


class FileTokens(TokenSource):
    """A file that holds one token or several, separated by white space."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = str(path)

    def read(self) -> list[str]:
        """The tokens in the file."""
        try:
            tokens = self.path.read_text("utf-8", errors="replace").split()
        except OSError as error:
            raise ConfigError(f"cannot read the token file {self.path}: {error.strerror}") from error
        return _checked(tokens, f"the token file {self.path} is empty", self.name)


class CommandTokens(TokenSource):
    """A program that prints one token or several; run without a shell."""

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"the token command is not well quoted: {error}") from error
        if not self._words:
            raise ConfigError("the token command is empty")
        if "/" in self._words[0]:
            self._words[0] = str(Path(self._words[0]).absolute())  # it may be run from elsewhere
        self.name = f"the token command {self._words[0]}"

    def read(self) -> list[str]:
        """What the program prints; it does not get PITHOSFS_TOKEN."""
        environment = {key: value for key, value in os.environ.items() if key != TOKEN_VARIABLE}
        try:
            done = subprocess.run(  # noqa: S603 - the user's own command
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                timeout=TOKEN_COMMAND_TIMEOUT,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"{self.name} takes longer than {TOKEN_COMMAND_TIMEOUT:.0f} s") from error
        except OSError as error:
            raise ConfigError(f"cannot run {self.name}: {error.strerror}") from error
        if done.returncode:
            raise ConfigError(f"{self.name} failed (exit status {done.returncode})")
        tokens = done.stdout.decode("utf-8", errors="replace").split()
        return _checked(tokens, f"{self.name} printed no token", self.name)


class VariableTokens(TokenSource):
    """Tokens from the environment as it was when this object was made.

    The caller may, and should, remove the variable then: children need it not.
    """

    name = TOKEN_VARIABLE

    def __init__(self, value: str) -> None:
        self._tokens = value.split()

    def read(self) -> list[str]:
        """The tokens."""
        return _checked(list(self._tokens), f"{TOKEN_VARIABLE} is empty", self.name)


class CloudTokens(TokenSource):
    """The tokens of a cloud in kamaki's file: the first of ``keys`` that is set."""

    def __init__(self, path: Path, cloud: str, keys: Sequence[str]) -> None:
        self._path = path
        self._cloud = cloud
        self._keys = keys
        self.name = f'cloud "{cloud}" in {path}'

    def read(self) -> list[str]:
        """The tokens in the file."""
        settings = _File.read(self._path).clouds.get(self._cloud, {})
        tokens = next((settings[key] for key in self._keys if settings.get(key)), "").split()
        remedy = f"set it with: kamaki config set cloud.{self._cloud}.token TOKEN"
        return _checked(tokens, f"{self.name} has no token; {remedy}", self.name)


def _checked(tokens: list[str], if_none: str, name: str) -> list[str]:
    """The tokens; ConfigError if there are none or one could not be sent."""
    if not tokens:
        raise ConfigError(if_none)
    if not all(each.isascii() and each.isprintable() for each in tokens):
        raise ConfigError(f"{name}: that is no token, it has characters no token can have")
    return tokens


@dataclass(frozen=True)
class Connection:
    """All that is known about a store before it is asked.

    ``endpoint`` is the storage URL (without the account) if it is known
    already; else it is asked from ``identity_url``, as is a missing
    ``account``.  ``token`` is for the store, ``identity_token`` for the
    identity service where that takes another one.
    """

    cloud: str | None
    identity_url: str | None
    endpoint: str | None
    account: str | None
    token: TokenSource
    container: str = DEFAULT_CONTAINER
    ca_certs: str | None = None
    verify: bool = True
    pithos_type: str = DEFAULT_TYPE
    pithos_version: str | None = None
    identity_token: TokenSource | None = None


def load(
    *,
    config: Path | None = None,
    cloud: str | None = None,
    url: str | None = None,
    account: str | None = None,
    token_file: Path | None = None,
    token_command: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Connection:
    """Settings from arguments, environment and kamaki's file; see the module.

    ``config`` must exist; the file named by ``$KAMAKI_CONFIG`` or
    ``~/.kamakirc`` need not, as long as the rest comes from elsewhere.  With
    ``url`` (a storage endpoint) no cloud is looked at unless it is named, so
    that a token never goes to a server it is not for by accident.  Raises
    ConfigError, one line that says what to do.
    """
    own = _own_tokens(token_file, token_command, environ)
    # absolute: tokens are read from it again after the process has gone to another directory
    path = (config or _default_path(environ)).absolute()
    if config is not None and not config.is_file():
        raise ConfigError(f"there is no file {config}")
    file = _File.read(path) if path.is_file() else _File(path, {}, {})
    if url and not cloud:
        connection = _from_arguments(url, account, own, file)
    else:
        connection = _from_cloud(file, file.choose(cloud, environ), url, account, own)
    _warn(connection, file, token_file)
    return connection


def _own_tokens(
    token_file: Path | None, token_command: str | None, environ: Mapping[str, str]
) -> TokenSource | None:
    """Where the token comes from if not from the file."""
    if token_file and token_command:
        raise ConfigError("give either --token-file or --token-command, not both")
    if token_file:
        _refuse_what_is_no_file(token_file)
        return FileTokens(token_file)
    if token_command:
        return CommandTokens(token_command)
    if environ.get(TOKEN_VARIABLE, "").strip():
        return VariableTokens(environ[TOKEN_VARIABLE])
    return None


def _refuse_what_is_no_file(path: Path) -> None:
    """ConfigError for a directory, or a device (it may never end); a pipe is what ``<(…)`` of a shell is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it tells, and it may come yet
    if stat.S_ISDIR(mode):
        raise ConfigError(f"--token-file: {path} is a directory, name the file in it")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ConfigError(
            f"--token-file: {path} is a device or the like: name a file that holds the token,"
            " or a program that prints it with --token-command"
        )


def _default_path(environ: Mapping[str, str]) -> Path:
    named = environ.get("KAMAKI_CONFIG")
    if named:
        return _expanded(named, "KAMAKI_CONFIG")
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".kamakirc"


def _expanded(path: str, what: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{what} names {path}, but there is no such user or no home directory") from None


def _from_arguments(url: str, account: str | None, own: TokenSource | None, file: _File) -> Connection:
    if own is None:
        raise ConfigError(
            f"with --url give the token by --token-file, --token-command or {TOKEN_VARIABLE}"
            " (or name a cloud whose token it takes with --cloud)"
        )
    if not account:
        raise ConfigError("with --url give the account by --account as well")
    return Connection(
        cloud=None,
        identity_url=None,
        endpoint=_http_url(url, "--url").rstrip("/"),
        account=account,
        token=own,
        ca_certs=file.ca_certs,
        verify=file.verify,
    )


def _from_cloud(
    file: _File, name: str, url: str | None, account: str | None, own: TokenSource | None
) -> Connection:
    settings = file.clouds[name]
    where = f'cloud "{name}" in {file.path}'
    identity = settings.get("url") or None
    endpoint = url or settings.get("pithos_url") or None
    account = account or settings.get("pithos_uuid") or None
    if identity is None and not (endpoint and account):
        raise ConfigError(f"{where} has no url; set it with: kamaki config set cloud.{name}.url URL")
    if own is None and not (settings.get("token") or settings.get("pithos_token")):
        raise ConfigError(f"{where} has no token; set it with: kamaki config set cloud.{name}.token TOKEN")
    special = own is None and bool(settings.get("pithos_token") and settings.get("token"))
    return Connection(
        cloud=name,
        identity_url=_http_url(identity, f"the url of {where}") if identity else None,
        endpoint=_http_url(endpoint, f"the storage URL of {where}").rstrip("/") if endpoint else None,
        account=account,
        token=own or CloudTokens(file.path, name, ("pithos_token", "token")),
        container=settings.get("pithos_container") or DEFAULT_CONTAINER,
        ca_certs=file.ca_certs,
        verify=file.verify,
        pithos_type=settings.get("pithos_type") or DEFAULT_TYPE,
        pithos_version=settings.get("pithos_version") or None,
        identity_token=CloudTokens(file.path, name, ("token",)) if special else None,
    )


def _http_url(url: str, what: str) -> str:
    if not re.fullmatch(r"https?://[!-.0-~][!-~]*", url):
        raise ConfigError(f"{what} is not an http or https URL")
    return url


def _warn(connection: Connection, file: _File, token_file: Path | None) -> None:
    """Say what is unsafe but allowed."""
    urls = [each for each in (connection.endpoint, connection.identity_url) if each]
    if not connection.verify and any(each.startswith("https:") for each in urls):
        log.warning("ignore_ssl is on in %s: servers are not verified, the token may be stolen", file.path)
    used = token_file or (file.path if connection.cloud else None)
    if used is not None and _world_readable(used):
        log.warning("everybody can read the token in %s; do: chmod 600 %s", used, shlex.quote(str(used)))


def _world_readable(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


@dataclass(frozen=True)
class _File:
    """What kamaki's file says: ``[global]`` and the clouds by name."""

    path: Path
    general: Mapping[str, str]
    clouds: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, path: Path) -> _File:
        """Parse the file; ConfigError names the line, never what stands in it."""
        parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
        try:
            parser.read_string(path.read_text("utf-8-sig", errors="surrogateescape"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except configparser.Error as error:
            raise ConfigError(f"{path}, line {_line_of(error)}: not understood") from None
        clouds = {}
        for section in parser.sections():
            if match := _CLOUD.fullmatch(section):
                clouds[match[1]] = _settings(parser, section)
        general = _settings(parser, "global") if parser.has_section("global") else {}
        return cls(path, general, clouds)

    @property
    def ca_certs(self) -> str | None:
        """Path of the CA bundle, None for the system's."""
        value = self.general.get("ca_certs")
        if not value:
            return None
        path = _expanded(value, f"ca_certs in {self.path}").absolute()
        if not path.exists():
            raise ConfigError(f"ca_certs in {self.path} names {path}, which does not exist")
        return str(path)

    @property
    def verify(self) -> bool:
        """Whether servers have to prove who they are."""
        return self.general.get("ignore_ssl", "").lower() != "on"

    def choose(self, wanted: str | None, environ: Mapping[str, str]) -> str:
        """The cloud to use: the one named, the default, or the only one."""
        ways: Sequence[tuple[str, Callable[[], str | None]]] = (
            ("--cloud", lambda: wanted),
            ("default_cloud", lambda: self.general.get("default_cloud")),
            ("KAMAKI_DEFAULT_CLOUD", lambda: environ.get("KAMAKI_DEFAULT_CLOUD")),
        )
        for way, value in ways:
            if name := value():
                if name not in self.clouds:
                    raise ConfigError(f'{way} names the cloud "{name}"; {self._list()}')
                return name
        if len(self.clouds) == 1:
            return next(iter(self.clouds))
        raise ConfigError(f"{self._list()}; choose one with --cloud" if self.clouds else self._list())

    def _list(self) -> str:
        if self.clouds:
            return f"{self.path} has the clouds {', '.join(sorted(self.clouds))}"
        if self.path.is_file():
            return f"there is no cloud in {self.path}; add one with: kamaki config set cloud.NAME.url URL"
        return (
            f"there is no file {self.path}; name kamaki's configuration with --config,"
            f" or give --url, --account and a token by --token-file, --token-command or {TOKEN_VARIABLE}"
        )


def _settings(parser: configparser.RawConfigParser, section: str) -> dict[str, str]:
    return {key: "" if value == '""' else value for key, value in parser.items(section)}


def _line_of(error: configparser.Error) -> str:
    """The line a parser's error is about, without what it says (it may hold a token)."""
    if (lineno := getattr(error, "lineno", None)) is not None:
        return str(lineno)
    errors = getattr(error, "errors", None)
    return str(errors[0][0]) if errors else "?"
