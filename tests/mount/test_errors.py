"""Exactly the errors that POSIX and Linux name, for each call that can give them."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pithosfs import mountpoints
from tests.support.disks import Site
from tests.support.files import opened, refused
from tests.support.server import environment

Call = Callable[[Path], object]


def _open(flags: int) -> Call:
    return lambda path: os.close(os.open(path, flags, 0o644))


MUST_EXIST: dict[str, Call] = {
    "stat": os.stat,
    "lstat": os.lstat,
    "open": _open(os.O_RDONLY),
    "open to write": _open(os.O_WRONLY),
    "truncate": lambda path: os.truncate(path, 0),
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "utime": lambda path: os.utime(path, ns=(1, 1)),
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "readlink": os.readlink,
    "listdir": os.listdir,
    "rename": lambda path: os.rename(path, path.parent / "other"),
    "listxattr": os.listxattr,
    "statvfs": os.statvfs,
    "link": lambda path: os.link(path, path.parent / "other"),
}
MAKES: dict[str, Call] = {
    "create": _open(os.O_WRONLY | os.O_CREAT),
    "create exclusively": _open(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "mkdir": os.mkdir,
    "symlink": lambda path: os.symlink("target", path),
    "mknod": lambda path: os.mknod(path),
}
ALL = {**MUST_EXIST, **MAKES}


@pytest.mark.parametrize("call", MUST_EXIST)
def test_missing_entry(path: Path, call: str) -> None:
    with refused(errno.ENOENT):
        MUST_EXIST[call](path / "missing")


@pytest.mark.parametrize("call", ALL)
def test_missing_directory(path: Path, call: str) -> None:
    with refused(errno.ENOENT):
        ALL[call](path / "missing" / "entry")
    assert os.listdir(path) == []


@pytest.mark.parametrize("call", ALL)
def test_file_as_a_directory(path: Path, call: str) -> None:
    (path / "file").touch()
    with refused(errno.ENOTDIR):
        ALL[call](path / "file" / "entry")
    with refused(errno.ENOTDIR):
        ALL[call](path / "file" / "deep" / "entry")
    assert os.listdir(path) == ["file"]


@pytest.mark.parametrize("call", ALL)
def test_name_of_256_bytes(path: Path, call: str) -> None:
    with refused(errno.ENAMETOOLONG):
        ALL[call](path / ("n" * 256))
    with refused(errno.ENAMETOOLONG):
        ALL[call](path / ("n" * 256) / "entry")
    with refused(errno.ENAMETOOLONG):
        ALL[call](path / ("ü" * 128))


@pytest.mark.parametrize("call", ALL)
def test_path_longer_than_any(path: Path, call: str) -> None:
    with refused(errno.ENAMETOOLONG):
        ALL[call](path.joinpath(*["n" * 200] * 25))


@pytest.mark.parametrize("call", sorted(ALL.keys() - {"lstat", "unlink", "rmdir", "rename"}))
def test_loop_of_symlinks(path: Path, call: str) -> None:
    (path / "one").symlink_to("two")
    (path / "two").symlink_to("one")
    with refused(errno.ELOOP):
        ALL[call](path / "one" / "entry")


def test_symlink_where_none_is_wanted(path: Path) -> None:
    (path / "file").touch()
    (path / "link").symlink_to("file")
    with refused(errno.ELOOP):
        os.open(path / "link", os.O_RDONLY | os.O_NOFOLLOW)
    with refused(errno.ENOTDIR):
        os.rmdir(path / "link")
    with refused(errno.EINVAL):
        os.readlink(path / "file")


@pytest.mark.parametrize("call", ["create exclusively", "mkdir", "symlink", "mknod"])
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "dangling"])
def test_name_that_is_taken(path: Path, call: str, kind: str) -> None:
    (path / "other").touch()
    make: dict[str, Call] = {
        "file": Path.touch,
        "directory": Path.mkdir,
        "symlink": lambda path: path.symlink_to("other"),
        "dangling": lambda path: path.symlink_to("nowhere"),
    }
    make[kind](path / "taken")
    with refused(errno.EEXIST):
        MAKES[call](path / "taken")
    assert sorted(os.listdir(path)) == ["other", "taken"]


def test_create_follows_a_dangling_symlink(path: Path) -> None:
    (path / "link").symlink_to("target")
    with opened(path / "link", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"content")
    assert (path / "target").read_bytes() == b"content"


DIRECTORY_AS_FILE: dict[str, Call] = {
    "open to write": _open(os.O_WRONLY),
    "open to read and write": _open(os.O_RDWR),
    "create": _open(os.O_RDONLY | os.O_CREAT),
    "truncate": lambda path: os.truncate(path, 0),
    "unlink": os.unlink,
}


@pytest.mark.parametrize("call", DIRECTORY_AS_FILE)
def test_directory_where_a_file_is_wanted(path: Path, call: str) -> None:
    (path / "d").mkdir()
    with refused(errno.EISDIR):
        DIRECTORY_AS_FILE[call](path / "d")
    assert (path / "d").is_dir()


def test_read_of_a_directory(path: Path) -> None:
    with opened(path, os.O_RDONLY) as fd, refused(errno.EISDIR):
        os.read(fd, 1)


@pytest.mark.parametrize("call", ["rmdir", "listdir"])
def test_file_where_a_directory_is_wanted(path: Path, call: str) -> None:
    (path / "file").touch()
    with refused(errno.ENOTDIR):
        MUST_EXIST[call](path / "file")
    with refused(errno.ENOTDIR):
        os.open(path / "file", os.O_RDONLY | os.O_DIRECTORY)
    assert (path / "file").exists()


def test_trailing_slash(path: Path) -> None:
    (path / "file").touch()
    (path / "d").mkdir()
    for call in (os.stat, os.unlink, os.listdir):
        with refused(errno.ENOTDIR):
            call(f"{path}/file/")
    with refused(errno.EISDIR):
        os.open(f"{path}/new/", os.O_WRONLY | os.O_CREAT)
    assert os.stat(f"{path}/d/").st_ino == (path / "d").stat().st_ino
    os.mkdir(f"{path}/e/")
    os.rename(f"{path}/e/", f"{path}/f/")
    os.rmdir(f"{path}/f/")


def test_rmdir_of_a_full_directory(path: Path) -> None:
    (path / "d" / "e").mkdir(parents=True)
    with refused(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(path / "d")
    (path / "d" / "e").rmdir()
    (path / "d" / "file").touch()
    with refused(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(path / "d")
    (path / "d" / "file").unlink()
    os.rmdir(path / "d")
    assert os.listdir(path) == []


def test_rmdir_of_dots(path: Path) -> None:
    (path / "d").mkdir()
    with refused(errno.EINVAL):
        os.rmdir(f"{path}/d/.")
    with refused(errno.ENOTEMPTY, errno.EEXIST):
        os.rmdir(f"{path}/d/..")


def test_truncate_to_less_than_nothing(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    with refused(errno.EINVAL):
        os.truncate(path / "file", -1)
    assert (path / "file").read_bytes() == b"content"


def test_closed_descriptor(path: Path) -> None:
    fd = os.open(path / "file", os.O_RDWR | os.O_CREAT)
    os.close(fd)
    for call in (os.fstat, os.fsync, lambda fd: os.read(fd, 1), lambda fd: os.write(fd, b"x")):
        with refused(errno.EBADF):
            call(fd)


def test_name_of_255_bytes_is_fine(path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        (path / name).write_bytes(name.encode())
        assert (path / name).read_bytes() == name.encode()
        (path / name).rename(path / name[:-1])
        (path / name[:-1]).unlink()
    assert os.listdir(path) == []


def test_long_paths(path: Path) -> None:
    """Eleven directories with names of 80 bytes; one object's name holds them all."""
    deep = path.joinpath(*[f"{number:02}" + "n" * 78 for number in range(11)])
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"content")
    assert (deep / "file").read_bytes() == b"content"
    (path / os.listdir(path)[0]).rename(path / "short")
    assert len(list(path.rglob("file"))) == 1


def test_what_fails_as_the_mount_begins_ends_it(site: Site, tmp_path: Path) -> None:
    """As in a full /run; whoever called it would wait for ever."""
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    program = (
        "import sys; from pithosfs import cli, registry\n"
        "def full(entry): raise OSError(28, 'No space left on device', str(entry.file))\n"
        "registry.announce = full; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["mount", "pithos", mountpoint, "--cache-dir", tmp_path / "cache"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **environment(site.server, tmp_path / "home")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 1
        assert re.fullmatch(r"pithosfs mount: \S+/\d+\.json: No space left on device\n", said)
        assert mountpoints.mount_at(mountpoint) is None
    finally:
        if mountpoints.mount_at(mountpoint):
            mountpoints.unmount(str(mountpoint), lazy=True)
        process.kill()
        process.wait()
