"""kamaki's file, the environment and arguments: each rule of who says what."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithosfs import config
from pithosfs.config import Connection, load
from pithosfs.errors import ConfigError

TWO = """
    [global]
    default_cloud = second
    [cloud "first"]
    url = https://first.example.org/identity
    token = token-of-first
    [cloud "second"]
    url = https://second.example.org/identity/v2.0
    token = token-of-second
"""


class Home:
    """A home directory with kamaki's file, and ``load`` with nothing else around it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / ".kamakirc"

    def write(self, text: str, path: Path | None = None, mode: int = 0o600) -> Path:
        target = path or self.file
        target.write_text(textwrap.dedent(text))
        target.chmod(mode)
        return target

    def load(self, *, environ: dict[str, str] | None = None, **arguments: object) -> Connection:
        return load(environ={"HOME": str(self.path), **(environ or {})}, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# -- which file -----------------------------------------------------------------------


def test_the_file_in_the_home_directory(home: Home) -> None:
    home.write(TWO)
    connection = home.load()
    assert (connection.cloud, connection.identity_url) == (
        "second",
        "https://second.example.org/identity/v2.0",
    )
    assert connection.token.read() == ["token-of-second"]
    assert (connection.endpoint, connection.account, connection.container) == (None, None, "pithos")
    assert (connection.verify, connection.ca_certs) == (True, None)
    assert (connection.pithos_type, connection.pithos_version) == ("object-store", None)


def test_kamaki_config_names_another_file_and_config_wins(home: Home) -> None:
    home.write(TWO)
    named = home.write('[cloud "named"]\nurl = http://n\ntoken = n\n', home.path / "named")
    given_file = home.write('[cloud "given"]\nurl = http://g\ntoken = g\n', home.path / "given")
    environ = {"KAMAKI_CONFIG": str(named)}
    assert home.load(environ=environ).cloud == "named"
    assert home.load(environ=environ, config=given_file).cloud == "given"


def test_a_file_named_on_the_command_line_must_exist(home: Home) -> None:
    home.write(TWO)
    with pytest.raises(ConfigError, match=r"there is no file .*absent"):
        home.load(config=home.path / "absent")


def test_no_file_at_all_is_said_with_what_to_do(home: Home) -> None:
    with pytest.raises(ConfigError, match=r"\.kamakirc.*--config.*--url.*--account.*--token-file"):
        home.load()
    with pytest.raises(ConfigError, match="absent"):
        home.load(environ={"KAMAKI_CONFIG": str(home.path / "absent")})


def test_no_file_is_needed_if_all_else_is_given(home: Home) -> None:
    connection = home.load(url="http://host/v1/", account="me", environ={"PITHOSFS_TOKEN": "t"})
    assert (connection.endpoint, connection.account, connection.cloud) == ("http://host/v1", "me", None)
    assert connection.token.read() == ["t"]


# -- its syntax -------------------------------------------------------------------------


def test_the_syntax_of_kamakis_file(home: Home) -> None:
    home.write(
        """
        # a comment
        ; another
        [global]
        IGNORE_SSL : on ; with a remark
        [cloud "odd-~@#$.:name"]
        url=http://one
        URL = http://two#not-a-comment
        Token : a#1
            b
          c ; the last
        pithos_container = ""
        pithos_uuid = ""
        pithos_type = %(no)s-interpolation
        """
    )
    connection = home.load()
    assert connection.cloud == "odd-~@#$.:name"
    assert connection.identity_url == "http://two#not-a-comment"
    assert connection.token.read() == ["a#1", "b", "c"]
    assert (connection.container, connection.account) == ("pithos", None)
    assert connection.pithos_type == "%(no)s-interpolation"
    assert not connection.verify


@pytest.mark.parametrize(
    "section", ["cloud", "cloud x", 'cloud ""', 'cloud "a b"', 'cloud "é"', "cloud 'x'", 'Cloud "x"']
)
def test_sections_that_are_no_clouds(home: Home, section: str) -> None:
    home.write(f"[{section}]\nurl = http://x\ntoken = t\n")
    with pytest.raises(ConfigError, match="no cloud in"):
        home.load()


@pytest.mark.parametrize(
    ("text", "line"),
    [("token = abc\n", "1"), ("[global]\n\ntoken-abc\n", "3"), ("[a]\nx = 1\n[b\ntoken abc\n", "3")],
)
def test_a_syntax_error_names_the_line_and_not_what_is_in_it(home: Home, text: str, line: str) -> None:
    home.write(text)
    with pytest.raises(ConfigError) as caught:
        home.load()
    assert str(caught.value) == f"{home.file}, line {line}: not understood"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(content=st.binary(max_size=400) | st.text(max_size=400).map(lambda each: each.encode()))
def test_any_file_is_read_or_refused_on_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "rc"
    path.write_bytes(content)
    try:
        load(config=path, environ={})
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


def test_a_file_that_cannot_be_read(home: Home) -> None:
    home.file.mkdir()
    with pytest.raises(ConfigError, match="there is no file"):
        home.load(config=home.file)


# -- which cloud ------------------------------------------------------------------------------


def test_the_order_in_which_a_cloud_is_chosen(home: Home) -> None:
    home.write(TWO)
    environ = {"KAMAKI_DEFAULT_CLOUD": "first"}
    assert home.load(environ=environ, cloud="first").cloud == "first"
    assert home.load(environ=environ).cloud == "second"
    home.write(TWO.replace("default_cloud", "something_else"))
    assert home.load(environ=environ).cloud == "first"
    with pytest.raises(ConfigError, match="has the clouds first, second; choose one with --cloud"):
        home.load()


def test_the_only_cloud_is_taken(home: Home) -> None:
    home.write('[cloud "only"]\nurl = http://x\ntoken = t\n')
    assert home.load().cloud == "only"


@pytest.mark.parametrize(
    ("environ", "cloud", "way"),
    [
        ({}, "third", "--cloud"),
        ({"KAMAKI_DEFAULT_CLOUD": "third"}, None, "KAMAKI_DEFAULT_CLOUD"),
    ],
)
def test_an_unknown_cloud_is_answered_with_the_known(
    home: Home, environ: dict[str, str], cloud: str | None, way: str
) -> None:
    home.write(TWO.replace("default_cloud", "something_else"))
    with pytest.raises(ConfigError, match=f'{way} names the cloud "third"; .* has the clouds first, second'):
        home.load(environ=environ, cloud=cloud)


def test_a_cloud_needs_a_url_and_a_token(home: Home) -> None:
    home.write('[cloud "x"]\ntoken = secret\n')
    with pytest.raises(ConfigError, match=r'cloud "x" in .* has no url') as caught:
        home.load()
    assert "secret" not in str(caught.value)
    home.write('[cloud "x"]\nurl = http://x\ntoken = ""\n')
    with pytest.raises(ConfigError, match=r'cloud "x" in .* has no token'):
        home.load()
    assert home.load(environ={"PITHOSFS_TOKEN": "t"}).token.read() == ["t"]


def test_a_url_is_not_needed_where_nothing_is_asked_of_it(home: Home) -> None:
    home.write('[cloud "x"]\npithos_url = http://s/v1/\npithos_uuid = me\npithos_token = t\n')
    connection = home.load()
    assert (connection.identity_url, connection.endpoint, connection.account) == (None, "http://s/v1", "me")


def test_what_a_cloud_may_say_about_its_storage(home: Home) -> None:
    home.write(
        """
        [cloud "x"]
        url = https://x/identity
        token = t1 t2
        pithos_url = https://s/object-store/v1/
        pithos_token = p
        pithos_type = my-store
        pithos_version = v3
        pithos_container = docs
        pithos_uuid = me
        """
    )
    connection = home.load()
    assert connection.endpoint == "https://s/object-store/v1"
    assert (connection.account, connection.container) == ("me", "docs")
    assert (connection.pithos_type, connection.pithos_version) == ("my-store", "v3")
    assert connection.token.read() == ["p"]
    assert connection.identity_token is not None
    assert connection.identity_token.read() == ["t1", "t2"]


def test_arguments_win_over_the_cloud(home: Home) -> None:
    home.write('[cloud "x"]\nurl = http://x\ntoken = t\npithos_url = http://s/v1\npithos_uuid = me\n')
    connection = home.load(cloud="x", url="http://other/v1", account="you")
    assert (connection.endpoint, connection.account) == ("http://other/v1", "you")
    assert connection.token.read() == ["t"]


def test_a_url_alone_never_gets_the_token_of_a_cloud(home: Home) -> None:
    home.write(TWO)
    with pytest.raises(ConfigError, match="with --url give the token"):
        home.load(url="http://evil/v1", account="me")
    with pytest.raises(ConfigError, match="--account"):
        home.load(url="http://host/v1", environ={"PITHOSFS_TOKEN": "t"})


@pytest.mark.parametrize(
    "url", ["host/v1", "ftp://host", "http://", "http:///v1", "", " http://x", "http://x/ü", "http://x y"]
)
def test_urls_that_are_none(home: Home, url: str) -> None:
    home.write(f'[cloud "x"]\nurl = {url}\ntoken = t\n'.replace("= \n", '= ""\n'))
    with pytest.raises(ConfigError, match=r"not an http or https URL|has no url"):
        home.load() if url != " http://x" else home.load(url=url, account="a", cloud="x")


# -- tokens -----------------------------------------------------------------------------------------


def test_the_order_in_which_tokens_are_looked_for(home: Home) -> None:
    home.write(TWO)
    file = home.write("from-file\n", home.path / "token")
    environ = {"PITHOSFS_TOKEN": "from-environment"}
    assert home.load().token.read() == ["token-of-second"]
    assert home.load(environ=environ).token.read() == ["from-environment"]
    assert home.load(environ=environ, token_file=file).token.read() == ["from-file"]
    assert home.load(environ=environ, token_command="echo from-command").token.read() == ["from-command"]
    with pytest.raises(ConfigError, match="not both"):
        home.load(token_file=file, token_command="echo x")


def test_each_source_is_read_anew(home: Home) -> None:
    home.write(TWO)
    from_cloud = home.load().token
    file = home.write("one two\nthree", home.path / "token")
    from_file = home.load(token_file=file).token
    from_command = home.load(token_command=f"cat {file}").token
    assert from_file.read() == from_command.read() == ["one", "two", "three"]
    home.write(TWO.replace("token-of-second", "renewed"))
    home.write("four", file)
    assert from_cloud.read() == ["renewed"]
    assert from_file.read() == from_command.read() == ["four"]


def test_a_cloud_that_lost_its_token(home: Home) -> None:
    home.write(TWO)
    token = home.load().token
    home.write("[global]\n")
    with pytest.raises(ConfigError, match=r'cloud "second" .* has no token'):
        token.read()
    home.file.unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        token.read()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("", "empty"),
        ('echo "', "quoted"),
        ("/nowhere/program", "cannot run the token command /nowhere/program: No such file"),
        ("false", r"the token command false failed \(exit status 1\)"),
        ("true", "printed no token"),
    ],
)
def test_token_commands_that_fail(home: Home, command: str, text: str) -> None:
    home.write(TWO)
    with pytest.raises(ConfigError, match=text):
        home.load(token_command=command or " ").token.read()


def test_a_token_command_is_no_shell_and_gets_no_token(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(TWO)
    monkeypatch.setenv("PITHOSFS_TOKEN", "hidden")
    program = f'{sys.executable} -c \'import os; print(os.environ.get("PITHOSFS_TOKEN"), "$HOME;")\''
    assert home.load(token_command=program).token.read() == ["None", "$HOME;"]
    assert os.environ["PITHOSFS_TOKEN"] == "hidden"


def test_a_token_command_that_never_ends(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write(TWO)
    monkeypatch.setattr(config, "TOKEN_COMMAND_TIMEOUT", 0.1)
    with pytest.raises(ConfigError, match="the token command sleep takes longer than"):
        home.load(token_command="sleep 60").token.read()


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_an_empty_token_file(home: Home, content: str) -> None:
    home.write(TWO)
    file = home.write(content, home.path / "token")
    with pytest.raises(ConfigError, match="is empty"):
        home.load(token_file=file).token.read()
    with pytest.raises(ConfigError, match="cannot read the token file"):
        home.load(token_file=home.path / "absent").token.read()


@pytest.mark.parametrize("token", ["tökên", "a\x07b", "\ufffd"])
def test_what_no_token_can_be(home: Home, token: str) -> None:
    home.write(f'[cloud "x"]\nurl = http://x\ntoken = {token}\n')
    file = home.write(token, home.path / "token")
    for connection in (
        home.load(),
        home.load(token_file=file),
        home.load(token_command=f"cat {file}"),
        home.load(environ={"PITHOSFS_TOKEN": token}),
    ):
        with pytest.raises(ConfigError, match="that is no token") as caught:
            connection.token.read()
        assert token not in str(caught.value)


def test_no_token_in_any_repr(home: Home) -> None:
    home.write(TWO.replace("token-of-second", "s3cret"))
    file = home.write("s3cret", home.path / "token")
    for connection in (
        home.load(),
        home.load(token_file=file),
        home.load(token_command="echo s3cret"),
        home.load(environ={"PITHOSFS_TOKEN": "s3cret"}),
    ):
        assert connection.token.read() == ["s3cret"]
        assert "s3cret" not in repr(connection) + str(connection.token) + connection.token.name


# -- safety ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "verify"), [("on", False), ("ON", False), ("off", True), ("", True), ("1", True)]
)
def test_ignore_ssl(home: Home, value: str, verify: bool) -> None:
    home.write(f'[global]\nignore_ssl = {value or chr(34) * 2}\n[cloud "x"]\nurl = http://x\ntoken = t\n')
    assert home.load().verify is verify


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ignore_ssl_is_warned_of_each_time_but_not_for_http(
    home: Home, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    home.write(f'[global]\nignore_ssl = on\n[cloud "x"]\nurl = {scheme}://x\ntoken = t\n')
    for _ in range(2):
        home.load()
    warnings = [each for each in caplog.records if "ignore_ssl" in each.message]
    assert len(warnings) == (2 if scheme == "https" else 0)


def test_ca_certs(home: Home) -> None:
    bundle = home.write("certificates", home.path / "ca.pem")
    text = '[global]\nca_certs = {}\n[cloud "x"]\nurl = https://x\ntoken = t\n'
    home.write(text.format(bundle))
    assert home.load().ca_certs == str(bundle)
    assert home.load(url="https://h/v1", account="a", environ={"PITHOSFS_TOKEN": "t"}).ca_certs == str(bundle)
    home.write(text.format("/nowhere/ca.pem"))
    with pytest.raises(ConfigError, match=r"ca_certs in .* names /nowhere/ca.pem, which does not exist"):
        home.load()


def test_readable_tokens_are_warned_of(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.write(TWO, mode=0o640)
    file = home.write("t", home.path / "to ken", mode=0o600)
    home.load()
    home.load(token_file=file)
    assert not caplog.records
    file.chmod(0o644)
    home.load(token_file=file)
    home.file.chmod(0o604)
    home.load()
    with caplog.at_level(logging.WARNING):
        assert [each.message for each in caplog.records] == [
            f"everybody can read the token in {file}; do: chmod 600 '{file}'",
            f"everybody can read the token in {home.file}; do: chmod 600 {home.file}",
        ]


def test_a_token_file_that_is_none(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.write(TWO, mode=0o600)
    for path in ("/dev/null", "/dev/zero"):
        with pytest.raises(ConfigError, match=f"{path} is a device or the like: name a file that holds the"):
            home.load(token_file=Path(path))
    with pytest.raises(ConfigError, match=f"{home.path} is a directory, name the file in it"):
        home.load(token_file=home.path)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"token\n")
        os.close(writer)
        assert home.load(token_file=Path(f"/dev/fd/{reader}")).token.read() == ["token"]
    finally:
        os.close(reader)
    assert not caplog.records


def test_a_home_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KAMAKI_CONFIG names ~nobody at all/rc, but there is no such user"):
        load(environ={"KAMAKI_CONFIG": "~nobody at all/rc"})
    path = tmp_path / "rc"
    path.write_text('[global]\nca_certs = ~nobody at all/ca\n[cloud "a"]\nurl = https://x\ntoken = t\n')
    with pytest.raises(
        ConfigError, match=r"ca_certs in .* names ~nobody at all/ca, but there is no such user"
    ):
        load(config=path, environ={})
