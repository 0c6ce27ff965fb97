"""How editors, office suites, browsers and mail programs save a file."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disks import Disk
from tests.support.files import noise, opened, pread_all, write_all
from tests.support.processes import run

OLD = b"the old text\n" * 900
NEW = b"the new and longer text\n" * 1200
EXCLUSIVE = os.O_RDWR | os.O_CREAT | os.O_EXCL


def _save(file: Path, data: bytes, flags: int = EXCLUSIVE, mode: int = 0o600) -> None:
    with opened(file, flags, mode) as fd:
        write_all(fd, data)
        os.fsync(fd)


def by_temporary(folder: Path) -> None:
    """GLib, Qt and most others: a temporary beside it, fsync, rename over it, fsync of the directory."""
    _save(folder / ".doc.AB12CD", NEW)
    (folder / ".doc.AB12CD").chmod(0o644)
    (folder / ".doc.AB12CD").rename(folder / "doc")
    with opened(folder, os.O_RDONLY) as fd:
        os.fsync(fd)


def in_place(folder: Path) -> None:
    """nano, a shell's redirection: emptied and written anew."""
    _save(folder / "doc", NEW, os.O_WRONLY | os.O_TRUNC)


def by_backup_renamed(folder: Path) -> None:
    """vim with backupcopy=no, Emacs: the old one is renamed away, a new one is made, the backup removed."""
    (folder / "doc").rename(folder / "doc~")
    _save(folder / "doc", NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    (folder / "doc").chmod(0o644)
    (folder / "doc~").unlink()


def by_backup_copied(folder: Path) -> None:
    """vim with backupcopy=yes: a copy is kept while the file itself is rewritten, with a swap file open."""
    with opened(folder / ".doc.swp", EXCLUSIVE, 0o600) as swap:
        os.write(swap, b"b0VIM 9.0" + bytes(4087))
        shutil.copy2(folder / "doc", folder / "doc~")
        in_place(folder)
        os.pwrite(swap, b"x", 1000)
        os.fsync(swap)
        (folder / "doc~").unlink()
        (folder / ".doc.swp").unlink()


def like_emacs(folder: Path) -> None:
    """A lock that is a dangling symlink, an autosave file, a backup by rename that is kept elsewhere."""
    (folder / ".#doc").symlink_to("user@host.1234:1795334389")
    _save(folder / "#doc#", NEW[:1000])
    by_backup_renamed(folder)
    (folder / "#doc#").unlink()
    assert os.readlink(folder / ".#doc").startswith("user@host")
    (folder / ".#doc").unlink()


def like_libreoffice(folder: Path) -> None:
    """A lock file, the document itself locked and kept open, a zip, a rename over it."""
    _save(folder / ".~lock.doc#", b",user,host,22.11.2026 12:00,file:///home/user;")
    with opened(folder / "doc") as held:
        fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert os.read(held, 12) == OLD[:12]
        with opened(folder / "lu1234abc.tmp", EXCLUSIVE, 0o600) as temporary:
            for at in range(0, len(NEW), 4096):
                os.write(temporary, NEW[at : at + 4096])
            os.lseek(temporary, 10, os.SEEK_SET)
            os.write(temporary, NEW[10:14])
            os.fsync(temporary)
        (folder / "lu1234abc.tmp").rename(folder / "doc")
        assert pread_all(held, len(OLD), 0) == OLD
    (folder / ".~lock.doc#").unlink()


def like_word(folder: Path) -> None:
    """Word on a network drive: three renames."""
    _save(folder / "~WRD0001.tmp", NEW)
    (folder / "doc").rename(folder / "~WRL0002.tmp")
    (folder / "~WRD0001.tmp").rename(folder / "doc")
    (folder / "~WRL0002.tmp").unlink()


def renamed_before_close(folder: Path) -> None:
    with opened(folder / "tmp", EXCLUSIVE) as fd:
        write_all(fd, NEW[:1000])
        (folder / "tmp").rename(folder / "doc")
        write_all(fd, NEW[1000:])


def shortened_last(folder: Path) -> None:
    """Written over from the start, cut to its new length at the end."""
    with opened(folder / "doc") as fd:
        write_all(fd, OLD + NEW)
        os.ftruncate(fd, 0)
        os.pwrite(fd, NEW + OLD, 0)
        os.ftruncate(fd, len(NEW))


def like_a_browser(folder: Path) -> None:
    """A download grows beside its empty place holder while another program looks at it."""
    (folder / "doc").write_bytes(b"")
    with opened(folder / "doc.part", EXCLUSIVE) as fd:
        for at in range(0, len(NEW), 5000):
            write_all(fd, NEW[at : at + 5000])
            assert (folder / "doc.part").stat().st_size == min(at + 5000, len(NEW))
    (folder / "doc.part").rename(folder / "doc")


def by_an_unlinked_temporary(folder: Path) -> None:
    """Collected in a file that has no name any more, copied out of it."""
    with opened(folder / "scratch", EXCLUSIVE) as scratch:
        (folder / "scratch").unlink()
        write_all(scratch, NEW)
        _save(folder / "doc", pread_all(scratch, len(NEW) + 1, 0), os.O_WRONLY | os.O_TRUNC)


WAYS: list[Callable[[Path], None]] = [
    by_temporary,
    in_place,
    by_backup_renamed,
    by_backup_copied,
    like_emacs,
    like_libreoffice,
    like_word,
    renamed_before_close,
    shortened_last,
    like_a_browser,
    by_an_unlinked_temporary,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_saved_three_times_and_nothing_left_over(disk: Disk, way: Callable[[Path], None]) -> None:
    for _ in range(3):
        (disk.path / "doc").write_bytes(OLD)
        way(disk.path)
        assert os.listdir(disk.path) == ["doc"]
        assert (disk.path / "doc").read_bytes() == NEW
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path) == ["doc"]
    assert (disk.path / "doc").read_bytes() == NEW


def test_mail_is_delivered_to_a_maildir(disk: Disk) -> None:
    for name in ("tmp", "new", "cur"):
        (disk.path / name).mkdir()
    for number in range(10):
        _save(disk.path / "tmp" / f"{number}.host", b"mail %d" % number)
        (disk.path / "tmp" / f"{number}.host").rename(disk.path / "new" / f"{number}.host")
        (disk.path / "new" / f"{number}.host").rename(disk.path / "cur" / f"{number}.host:2,S")
    disk.remount(fresh_cache=True)
    assert os.listdir(disk.path / "tmp") == os.listdir(disk.path / "new") == []
    found = {path.name: path.read_bytes() for path in (disk.path / "cur").iterdir()}
    assert found == {f"{number}.host:2,S": b"mail %d" % number for number in range(10)}


def test_log_is_rotated_by_copy_and_truncate(disk: Disk) -> None:
    with opened(disk.path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        os.write(fd, b"one\ntwo\n")
        shutil.copy(disk.path / "log", disk.path / "log.1")
        os.truncate(disk.path / "log", 0)
        os.write(fd, b"three\n")
    disk.remount(fresh_cache=True)
    assert (disk.path / "log.1").read_bytes() == b"one\ntwo\n"
    assert (disk.path / "log").read_bytes() == b"three\n"


def test_pieces_of_a_download_arrive_in_any_order(disk: Disk) -> None:
    """BitTorrent: room is set aside, each piece is read back after it was written."""
    data = noise(64 * 16_384)
    with opened(disk.path / "file", EXCLUSIVE) as fd:
        os.posix_fallocate(fd, 0, len(data))
        for number in range(64):
            at = (number * 27 % 64) * 16_384
            os.pwrite(fd, data[at : at + 16_384], at)
            assert os.pread(fd, 16_384, at) == data[at : at + 16_384]
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_bytes() == data


VIM_OPTIONS = [
    "set nobackup",
    "set backup backupcopy=yes",
    "set backup backupcopy=no",
    "set backupcopy=auto writebackup",
    "set nowritebackup noswapfile",
]


@pytest.mark.parametrize("option", VIM_OPTIONS)
def test_vim_itself(disk: Disk, option: str) -> None:
    if not shutil.which("vim"):
        pytest.skip("vim is not installed")
    file = disk.path / "file"
    file.write_text("".join(f"{number}\n" for number in range(500)))
    file.chmod(0o640)
    commands = ["set backupskip= swapfile", option, "%s/^250$/changed/", "wq"]
    command = ["vim", "-N", "-u", "NONE", "-i", "NONE", "-es", *(f"-c{each}" for each in commands), "file"]
    run(*command, cwd=disk.path)
    disk.remount(fresh_cache=True)
    assert file.read_text().splitlines()[250] == "changed"
    assert file.stat().st_mode & 0o777 == 0o640
    names = ["file", "file~"] if "set backup " in option else ["file"]
    assert sorted(os.listdir(disk.path)) == names


def test_sed_in_place_and_sort_onto_itself(disk: Disk) -> None:
    (disk.path / "file").write_text("c\nb\na\n")
    run("sed", "-i.bak", "s/b/B/", disk.path / "file")
    run("sort", "-o", disk.path / "file", disk.path / "file")
    disk.remount(fresh_cache=True)
    assert (disk.path / "file").read_text() == "B\na\nc\n"
    assert (disk.path / "file.bak").read_text() == "c\nb\na\n"
