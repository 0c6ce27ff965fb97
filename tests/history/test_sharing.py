"""Two users of one server: what one shares, the other mounts, with the rights given."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.history.conftest import Pithosfs
from tests.support.disks import MountedDisk
from tests.support.files import noise, refused
from tests.support.mounts import Mount


class Bob:
    """Another user, with mounts of what alice shares."""

    def __init__(self, command: Pithosfs, folder: Path) -> None:
        self.pithosfs = command
        self._folder = folder
        self._mounts: list[Mount] = []

    def mount(self, source: str, *options: str) -> Path:
        mount = Mount(
            source,
            self._folder / f"mnt{len(self._mounts)}",
            self.pithosfs.home,
            ("--dir-cache-time", "0.2", *options),
        )
        self._mounts.append(mount)
        mount.start()
        return mount.mountpoint

    @property
    def top(self) -> Path:
        return self._mounts[-1].mountpoint

    def end(self) -> None:
        for mount in self._mounts:
            mount.destroy()


@pytest.fixture
def other(bob: Pithosfs, tmp_path: Path) -> Iterator[Bob]:
    found = Bob(bob, tmp_path)
    yield found
    found.end()


@pytest.fixture
def alice(mounted: MountedDisk) -> str:
    """Her account's UUID."""
    (mounted.path / "probe").touch()
    return os.getxattr(mounted.path / "probe", "user.pithos.modified_by").decode()


def test_a_shared_tree_is_mounted_with_the_rights_given(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    for name in ("open", "read only", "private"):
        (mounted.path / name).mkdir()
        (mounted.path / name / "file").write_bytes(b"content of alice")
    pithosfs("share", mounted.path / "open", "--write", "bob")
    pithosfs("share", mounted.path / "read only", "--read", "bob")
    theirs = other.mount("pithos", "--account", alice) / mounted.name
    assert sorted(os.listdir(theirs)) == ["open", "read only"]
    assert (theirs / "read only" / "file").read_bytes() == b"content of alice"
    with refused(errno.EACCES):
        (theirs / "read only" / "file").write_bytes(b"x")
    with refused(errno.ENOENT):
        (theirs / "private" / "file").read_bytes()
    content = noise((4 << 20) + 10, seed=3)
    (theirs / "open" / "file").write_bytes(content)
    (theirs / "open" / "new").write_bytes(b"new")
    with refused(errno.EACCES):
        (theirs / "open" / "file").unlink()
    mounted.remount()
    assert (mounted.path / "open" / "file").read_bytes() == content
    assert (mounted.path / "open" / "new").read_bytes() == b"new"
    assert (mounted.path / "read only" / "file").read_bytes() == b"content of alice"


@pytest.mark.parametrize("all_of_them", [False, True])
def test_advice_about_a_mount_to_look_at_says_whose_object_is_meant(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str, all_of_them: bool
) -> None:
    """By the name alone it would be bob's own."""
    (mounted.path / "file").write_bytes(b"content of alice")
    pithosfs("share", mounted.path / "file", "--write", "bob")
    if all_of_them:
        top = other.mount("/", "--shared", "--read-only") / alice / "pithos"
    else:
        top = other.mount("pithos", "--account", alice, "--read-only")
    code, line = other.pithosfs.refused("upload", __file__, top / mounted.name / "file")
    name = f"pithos/{mounted.name}/file"
    assert (code, f"--read-only: name {name} with --account {alice}, or mount it" in line) == (2, True), line


def test_what_may_not_be_written_is_refused_before_it_is_written(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    """A close would be too late: `echo x > file` in a shell does not look at it."""
    for name in ("read", "open"):
        (mounted.path / name / "deep").mkdir(parents=True)
        (mounted.path / name / "deep" / "file").write_bytes(b"content of alice")
    pithosfs("share", mounted.path / "read", "--read", "bob")
    pithosfs("share", mounted.path / "open", "--write", "bob")
    theirs = other.mount("pithos", "--account", alice)
    read = theirs / mounted.name / "read"
    for path in (read / "deep" / "file", read / "deep" / "new", read / "new", theirs / "new"):
        with refused(errno.EACCES):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    for change in (
        lambda: os.truncate(read / "deep" / "file", 1),
        lambda: os.utime(read / "deep" / "file"),
        lambda: (read / "deep" / "file").chmod(0o600),
        lambda: os.setxattr(read / "deep" / "file", "user.x", b"y"),
        lambda: (read / "new").mkdir(),
        lambda: (read / "new").symlink_to("x"),
    ):
        with refused(errno.EACCES):
            change()
    file = theirs / mounted.name / "open" / "deep" / "file"
    with file.open("ab") as stream:
        with refused(errno.EACCES):
            file.unlink()
        stream.write(b", and bob")
    os.utime(file, (1, 1))
    (file.parent / "made" / "here").mkdir(parents=True)
    (file.parent / "made" / "here" / "new").write_bytes(b"new")
    pending = json.loads(other.pithosfs("status", other.top, "--json"))["pending"]
    assert [each for each in pending if each["error"]] == []
    mounted.remount()
    mine = mounted.path / "open" / "deep"
    assert (mine / "file").read_bytes() == b"content of alice, and bob"
    assert (mine / "made" / "here" / "new").read_bytes() == b"new"


def test_all_that_others_share_is_one_tree_of_accounts(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    (mounted.path / "d").mkdir()
    (mounted.path / "d" / "file").write_bytes(b"content")
    pithosfs("share", mounted.path / "d", "--read", "*")
    top = other.mount("/", "--shared")
    assert os.listdir(top) == [alice]
    assert (top / alice / "pithos" / mounted.name / "d" / "file").read_bytes() == b"content"
    with refused(errno.EPERM):
        (top / "new").mkdir()
    with refused(errno.EACCES):
        (top / alice / "new").mkdir()
    with refused(errno.EACCES):
        (top / alice / "pithos" / mounted.name / "d" / "new").write_bytes(b"x")


def test_sharing_is_told_to_both_sides(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"content")
    name = f"pithos/{mounted.object(path)}"
    assert "read: nobody else" in pithosfs("share", path)
    pithosfs("share", path, "--read", "bob")
    assert "read: bob" in pithosfs("share", path)
    assert " read=bob\n" in pithosfs("shared")
    mine = json.loads(pithosfs("shared", "--json"))["mine"]
    assert any(each["path"] == name and each["sharing"].startswith("read=") for each in mine)
    theirs = json.loads(other.pithosfs("shared", "--json"))["theirs"]
    assert {"account": alice, "path": name, "allowed": "read"} in theirs
    pithosfs("share", path, "--none")
    theirs = json.loads(other.pithosfs("shared", "--json"))["theirs"]
    assert name not in [each["path"] for each in theirs]
    code, line = pithosfs.refused("share", path, "--read", "nobody-of-this-name")
    assert "no user or group nobody-of-this-name" in line
    assert code == 1


def test_only_its_owner_publishes_a_file(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    """The store would let everybody publish who may write, and tell nobody but the owner the link."""
    path = mounted.path / "file"
    path.write_bytes(b"content")
    pithosfs("share", path, "--write", "bob")
    theirs = other.mount("pithos", "--account", alice) / mounted.name / "file"
    code, line = other.pithosfs.refused("publish", theirs)
    assert (code, line.count("only its owner")) == (4, 1)
    with refused(errno.EACCES):
        os.setxattr(theirs, "user.pithos.public", b"1")
    mine = json.loads(pithosfs("shared", "--json"))["mine"]
    assert [each["public"] for each in mine if each["path"].endswith(f"{mounted.name}/file")] == [None]


def test_a_directory_nobody_made_can_be_shared(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    mounted.store.put(f"{mounted.name}/virtual/file", b"content")
    assert "read: *" in pithosfs("share", f"pithos/{mounted.name}/virtual", "--read", "*")
    assert pithosfs.refused("share", f"pithos/{mounted.name}/nothing", "--read", "*")[0] == 5


def test_what_a_directory_grants_is_not_granted_again_below(
    mounted: MountedDisk, pithosfs: Pithosfs, bob: Pithosfs
) -> None:
    (mounted.path / "d").mkdir()
    (mounted.path / "d" / "file").write_bytes(b"content")
    pithosfs("share", mounted.path / "d", "--read", "*")
    assert "read: *" in pithosfs("share", mounted.path / "d" / "file")
    name = f"pithos/{mounted.name}/d"
    mine = [each["path"] for each in json.loads(pithosfs("shared", "--json"))["mine"]]
    assert name in mine
    assert f"{name}/file" not in mine
    pithosfs("share", mounted.path / "d" / "file", "--write", "bob")
    pithosfs("share", mounted.path / "d", "--none")
    assert "read: nobody else" in pithosfs("share", mounted.path / "d" / "file")
    for command in ("publish", "purge"):
        assert pithosfs.refused(command, mounted.path / "d")[0] == 2


def test_the_history_of_others_is_not_ours(
    mounted: MountedDisk, pithosfs: Pithosfs, other: Bob, alice: str
) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"content")
    pithosfs("share", path, "--read", "bob")
    theirs = other.mount("pithos", "--account", alice)
    assert (theirs / mounted.name / "file").read_bytes() == b"content"
    with refused(errno.EACCES):
        os.listdir(theirs / ".pithos" / "at" / "1 second ago")
    assert os.listdir(theirs / ".pithos") == ["versions"]
    assert len(os.listdir(theirs / ".pithos" / "versions" / mounted.name / "file")) == 1


def test_a_rename_onto_what_may_not_be_written_is_refused(
    mounted: MountedDisk,
    pithosfs: Pithosfs,
    other: Bob,
    alice: str,
) -> None:
    for name in ("open", "read only"):
        (mounted.path / name).mkdir()
        (mounted.path / name / "file").write_bytes(b"content of alice")
    pithosfs("share", mounted.path / "open", "--write", "bob")
    pithosfs("share", mounted.path / "read only", "--read", "bob")
    theirs = other.mount("pithos", "--account", alice) / mounted.name
    (theirs / "open" / ".file.a8Xk2P").write_bytes(b"content of bob")
    with refused(errno.EACCES):
        os.rename(theirs / "open" / ".file.a8Xk2P", theirs / "read only" / "file")
    assert (theirs / "read only" / "file").read_bytes() == b"content of alice"
    assert sorted(os.listdir(theirs / "open")) == [".file.a8Xk2P", "file"]
    pending = json.loads(other.pithosfs("status", other.top, "--json"))["pending"]
    assert [each for each in pending if each["error"]] == []


def test_permissions_that_the_store_does_not_understand_are_refused(mounted: MountedDisk) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"content")
    with refused(errno.EINVAL):
        os.setxattr(path, "user.pithos.sharing", b"nonsense")
