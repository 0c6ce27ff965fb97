from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pithosfs import cli, options
from pithosfs.cli import helper
from pithosfs.options import GIB, KIB, MIB, MountOptions, parse_mount_words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1k", KIB),
        ("512M", 512 * MIB),
        ("512MB", 512 * MIB),
        ("10G", 10 * GIB),
        ("1.5GiB", 3 * GIB // 2),
        (" 2 t ", 2048 * GIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert options.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "10X", "1e3", "1..5G", "ten"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        options.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0", 0), ("500ms", 0.5), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("1d", 86400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert options.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-5", "5 weeks", "1h30m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        options.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "mask"), [("022", 0o22), ("0", 0), ("77", 0o77), ("0o027", 0o27), ("0777", 0o777)]
)
def test_umasks(text: str, mask: int) -> None:
    assert options.parse_umask(text) == mask


@pytest.mark.parametrize("text", ["8", "", "rwx", "1000", "-1"])
def test_what_is_no_umask(text: str) -> None:
    with pytest.raises(ValueError, match="is no umask"):
        options.parse_umask(text)


def test_users_and_groups_by_name_and_number() -> None:
    assert options.parse_user("root") == 0
    assert options.parse_user("1234") == 1234
    assert options.parse_group("root") == 0
    with pytest.raises(ValueError, match="no user 'nobody-of-this-name'"):
        options.parse_user("nobody-of-this-name")
    with pytest.raises(ValueError, match="no group 'nobody-of-this-name'"):
        options.parse_group("nobody-of-this-name")


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert options.parse_path("cache") == tmp_path / "cache"
    assert options.parse_path("~/cache") == Path("/home/someone/cache")


def test_words_of_mount() -> None:
    given = parse_mount_words(
        "ro,cache-size=1G,dir_cache_time=2m,allow_other,cloud=okeanos,uid=root,umask=077"
    )
    assert given == {
        "read_only": True,
        "cache_size": GIB,
        "dir_cache_time": 120.0,
        "allow_other": True,
        "cloud": "okeanos",
        "uid": 0,
        "umask": 0o77,
    }


def test_every_long_option_is_a_word() -> None:
    samples = {
        "SIZE": "1G",
        "TIME": "5s",
        "FILE": "/f",
        "DIR": "/d",
        "MASK": "022",
        "USER": "0",
        "GROUP": "0",
        "N": "3",
    }
    samples["LEVEL"] = "info"
    for option in options.OPTIONS:
        value = f"={samples.get(option.metavar, 'text')}" if option.parse else ""
        assert set(parse_mount_words(option.name + value)) == {option.key}


def test_every_mount_option_is_a_setting() -> None:
    for option in options.MOUNT_OPTIONS:
        assert hasattr(MountOptions(), option.key)


def test_words_for_others_are_passed_over() -> None:
    text = (
        "defaults,_netdev,noauto,user,nofail,x-systemd.automount,x-systemd.device-timeout=5,X-mount.mkdir,rw"
    )
    assert parse_mount_words(text) == {"read_only": False}


def test_flags_of_the_kernel_are_handed_on() -> None:
    assert parse_mount_words("nosuid,nodev,noexec") == {"fuse": ("nosuid", "nodev", "noexec")}


def test_the_source_as_the_kernel_lists_it() -> None:
    assert parse_mount_words(f"fsname={options.escape('a,b')}") == {"fuse": (r"fsname=a\,b",)}


def test_the_last_word_wins() -> None:
    assert parse_mount_words("ro,rw") == {"read_only": False}
    assert parse_mount_words("memory=1M,memory=2M") == {"memory": 2 * MIB}


def test_commas_inside_a_value() -> None:
    assert parse_mount_words(r"token-command=pass show a\,b,ro") == {
        "token_command": "pass show a,b",
        "read_only": True,
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cache_szie=1G", "unknown mount option 'cache_szie'"),
        ("memory", "mount option 'memory' needs a value: memory=SIZE"),
        ("memory=much", "mount option 'memory': 'much' is no size"),
        ("create=yes", "mount option 'create' takes no value"),
        ("token=abc", "unknown mount option 'token'"),
    ],
)
def test_wrong_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_mount_words(text)


def test_a_token_in_a_word_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="token") as caught:
        parse_mount_words("token=s3cret")
    assert "s3cret" not in str(caught.value)


def test_settings_from_what_was_given() -> None:
    given = {"memory": 5, "cloud": "x", "command": "mount"}
    assert options.mount_options(given) == MountOptions(memory=5)
    assert options.mount_options({}) == MountOptions()


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert MountOptions().cache_path() == Path("/somewhere/pithosfs")
    assert MountOptions(cache_dir=Path("/c")).cache_path() == Path("/c")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1K"), (1536, "1.5K"), (256 * MIB, "256M"), (10 * GIB, "10G")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert options.format_size(size) == text
    assert os.linesep not in text


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (options.parse_size, "9" * 400 + "T", "too large"),
        (options.parse_size, "5000000T", "too large"),
        (options.parse_duration, "9" * 400, "too long"),
        (options.parse_user, "4294967295", "too large"),
        (options.parse_group, "9" * 5000, "too large"),
        (options.parse_path, "~no such user/x", "no such user"),
    ],
)
def test_what_no_system_takes(parse: Callable[[str], object], text: str, complaint: str) -> None:
    """Only a ValueError becomes a line for the user."""
    with pytest.raises(ValueError, match=complaint):
        parse(text)


def test_the_helper_of_mount_has_a_code_for_a_process_that_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "main", lambda _words: 137)
    assert helper.main(["pithos", "/mnt"]) == 32
