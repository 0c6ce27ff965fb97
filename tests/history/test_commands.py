"""The commands on a real mount and a real server."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pithosfs import control
from pithosfs.cli import targets, trash
from pithosfs.config import load
from tests.history.conftest import Pithosfs, next_second
from tests.support.disks import MountedDisk, Site
from tests.support.files import noise, refused
from tests.support.mounts import Mount
from tests.support.server import Server, environment

BLOCK = 4 << 20
SLOW = ("--dir-cache-time", "1h")


def hashes(top: Path) -> dict[str, str | None]:
    """Every path below ``top`` with the hash of its content, None for a directory."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
    }


def test_a_hundred_edits_are_listed_with_what_changed(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "disk.img"
    path.write_bytes(noise(3 * BLOCK, seed=1))
    for number in range(99):
        with path.open("r+b") as file:
            file.seek((number % 3) * BLOCK)
            file.write(b"%d" % number)
    listed = json.loads(pithosfs("versions", path, "--json"))
    assert len(listed) == 100
    assert [each["number"] for each in listed] == sorted(each["number"] for each in listed)
    assert listed[0]["changed"] == 3
    assert {each["changed"] for each in listed[1:]} == {1}
    assert {each["size"] for each in listed} == {3 * BLOCK}
    assert len({each["hash"] for each in listed}) == 100
    assert pithosfs("versions", path).count("1 of 3") == 99


def test_diff_tells_the_bytes(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    first = bytearray(noise(2 * BLOCK + 1000, seed=2))
    path.write_bytes(first)
    second = bytearray(first)
    for start, stop in ((7, 9), (BLOCK - 100, BLOCK + 100)):
        second[start:stop] = bytes(each ^ 255 for each in second[start:stop])
    path.write_bytes(bytes(second) + b"tail")
    one, other = (str(each["number"]) for each in json.loads(pithosfs("versions", path, "--json")))
    done = pithosfs.run("diff", path, one, other)
    assert done.returncode == 1
    rows = [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()[1:]]
    assert rows == [(7, 9), (BLOCK - 100, BLOCK + 100), (len(first), len(first) + 4)]
    assert "same" in pithosfs("diff", path, one, one)
    assert pithosfs.refused("diff", path, one, "1")[0] == 5


def test_a_deleted_tree_comes_back_as_it_was(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    top = mounted.path / "photos"
    for number in range(30):
        (top / f"album{number % 5}").mkdir(parents=True, exist_ok=True)
        (top / f"album{number % 5}" / f"{number}.jpg").write_bytes(noise(1000 + number, seed=number))
    (top / "album0" / "large").write_bytes(noise(BLOCK + 5, seed=99))
    (top / "album1" / "0o600").write_bytes(b"secret")
    (top / "album1" / "0o600").chmod(0o600)
    os.utime(top / "album1" / "0o600", ns=(0, 1_500_000_000_987654321))
    (top / "empty").mkdir()
    (top / "link").symlink_to("album0/large")
    mounted.settle()
    before = hashes(top)
    when = next_second()
    shutil.rmtree(top)
    assert pithosfs.refused("restore", top)[0] == 2  # of a directory one must say from when
    with mounted.requests() as seen:
        said = pithosfs("restore", top, "--at", when)
    assert "no data moved" in said
    assert sum(each.bytes_in for each in seen) < 1 << 20
    assert hashes(top) == before
    status = (top / "album1" / "0o600").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o600, 1_500_000_000_987654321)
    assert os.readlink(top / "link") == "album0/large"
    assert "0 objects brought back" in pithosfs("restore", top, "--at", when)


def test_a_tree_comes_back_beside_what_is_there_now(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    top = mounted.path / "d"
    top.mkdir()
    (top / "same").write_bytes(b"same")
    (top / "changed").write_bytes(b"old")
    (top / "gone").write_bytes(b"gone")
    before = hashes(top)
    when = next_second()
    (top / "changed").write_bytes(b"new")
    (top / "gone").unlink()
    (top / "later").write_bytes(b"later")
    assert "would bring back" in pithosfs("restore", top, "--at", when, "--dry-run")
    assert not (top / "gone").exists()
    pithosfs("restore", top, "--at", when, "--to", mounted.path / "copy")
    assert hashes(mounted.path / "copy") == before
    done = pithosfs.run("restore", top, "--at", when)
    assert done.returncode == 0
    assert "not there then: 1 object, left" in done.stderr
    assert hashes(top) == {**before, "later": hashlib.sha256(b"later").hexdigest()}
    assert pithosfs.run("restore", top, "--at", when, "--exact").returncode == 0
    assert hashes(top) == before


def test_files_come_back_in_any_version(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"first")
    pithosfs("share", path, "--read", "*")
    link = pithosfs("publish", path).strip()
    path.write_bytes(b"second")
    first, second = (each["number"] for each in json.loads(pithosfs("versions", path, "--json")))
    assert pithosfs.refused("restore", path)[0] == 2  # it is there: which version?
    pithosfs("restore", path, "--version", str(first))
    assert path.read_bytes() == b"first"
    assert pithosfs("publish", path).strip() == link  # neither link nor sharing is lost
    assert "read: *" in pithosfs("share", path)
    path.unlink()
    pithosfs("restore", path)
    assert path.read_bytes() == b"first"
    pithosfs("restore", path, "--version", str(second), "--to", mounted.path / "other")
    assert (mounted.path / "other").read_bytes() == b"second"
    assert pithosfs.refused("restore", mounted.path / "never")[0] == 5


def test_a_version_that_is_none_is_named(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"is there")
    code, said = pithosfs.refused("restore", path, "--version", "1")
    assert (code, "has no version 1:" in said) == (5, True)
    code, said = pithosfs.refused("restore", "pithos", "--version", "1")
    assert (code, "is a container: say from when with --at" in said) == (2, True)


def test_a_time_before_the_container_is_told_as_such(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"content")
    line = "there was no container pithos yet at 2020-01-01T00:00:00: give a later time with --at"
    for named in ("pithos", path, mounted.path):
        assert pithosfs.refused("restore", named, "--at", "2020-01-01") == (5, f"pithosfs restore: {line}")
        down = pithosfs.refused("download", named, tmp_path / "down", "--at", "2020-01-01")
        assert down == (5, f"pithosfs download: {line}")
    nowhere = pithosfs.refused("restore", "nowhere", "--at", "2020-01-01")
    assert nowhere == (5, "pithosfs restore: there is no container nowhere")


def test_nothing_is_put_in_the_place_of_something_else(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "x"
    path.write_bytes(b"file")
    version = json.loads(pithosfs("versions", path, "--json"))[0]["number"]
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"inside")
    when = next_second()
    assert "is a directory now" in pithosfs.refused("restore", path, "--version", str(version))[1]
    (mounted.path / "d").mkdir()
    pithosfs("restore", path, "--version", str(version), "--to", mounted.path / "d")
    assert (mounted.path / "d" / "x").read_bytes() == b"file"
    shutil.rmtree(path)
    path.write_bytes(b"file again")
    assert "is a file now" in pithosfs.refused("restore", path, "--at", when)[1]
    pithosfs("restore", path, "--at", when, "--to", mounted.path / "y")
    assert (mounted.path / "y" / "inside").read_bytes() == b"inside"
    assert path.read_bytes() == b"file again"


def test_a_public_link_opens_without_a_token(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "ünï code.txt"
    path.write_bytes(b"for everybody")
    link = pithosfs("publish", path).strip()
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.read() == b"for everybody"
    pithosfs("unpublish", path)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(link, timeout=10)


def test_extended_attributes_tell_what_the_store_knows(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"content")
    headers = mounted.store.head(mounted.object(path))
    facts = {
        "hash": headers["X-Object-Hash"],
        "version": headers["X-Object-Version"],
        "uuid": headers["X-Object-UUID"],
        "modified_by": headers["X-Object-Modified-By"],
    }
    for name, value in facts.items():
        assert os.getxattr(path, f"user.pithos.{name}").decode() == value
    assert os.getxattr(path, "user.pithos.url").decode().endswith(f"/pithos/{mounted.object(path)}")
    assert os.listxattr(path) == []
    for name in ("user.pithos.public", "user.pithos.sharing", "user.pithos.nothing"):
        with refused(errno.ENODATA):
            os.getxattr(path, name)
    os.setxattr(path, "user.pithos.public", b"1")
    link = os.getxattr(path, "user.pithos.public").decode()
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.read() == b"content"
    os.removexattr(path, "user.pithos.public")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(link, timeout=10)
    os.setxattr(path, "user.pithos.sharing", b"read=*")
    assert os.getxattr(path, "user.pithos.sharing") == b"read=*"
    with refused(errno.EPERM):
        os.setxattr(path, "user.pithos.hash", b"x")
    with refused(errno.EINVAL):
        os.setxattr(path, "user.pithos.public", b"maybe")


def test_trash_and_back(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    top = mounted.path / "old"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "file").write_bytes(b"content")
    name = mounted.object(top)
    pithosfs("trash", "put", top)
    assert not top.exists()
    assert mounted.site.server.store("trash").get(f"{name}/sub/file") == b"content"
    assert name.split("/")[0] in pithosfs("trash", "list")
    pithosfs("trash", "restore", name, "--to", top)
    assert (top / "sub" / "file").read_bytes() == b"content"
    pithosfs("trash", "put", top / "sub" / "file")
    assert "is back" in pithosfs("trash", "restore", f"{name}/sub/file")
    assert (top / "sub" / "file").read_bytes() == b"content"
    pithosfs("trash", "put", top / "sub" / "file")
    pithosfs("trash", "empty", "--yes")
    assert mounted.site.server.store("trash").names() == []


def test_no_name_gives_orders_to_a_terminal(mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path) -> None:
    """What others made is shown on one line, in characters only."""
    name = f"{mounted.name} \x1b]0;owned\x07\x9b2J\u202e\tOK é"
    shown = f"{mounted.name} \\x1b]0;owned\\x07\\x9b2J\\u202e\\tOK é"
    store = mounted.site.server.store("pithos")
    for content in (b"before", b"content"):
        store.put(f"{name}/x", content)
        time.sleep(1.1)  # purge takes whole seconds
    (tmp_path / "down" / name / "x").mkdir(parents=True)
    said = [
        pithosfs.run("download", f"pithos/{name}", f"{tmp_path}/down/").stderr,
        pithosfs.refused("du", f"pithos/{name}/y")[1],
        pithosfs.refused("du", f"pithos/{name}", f"--{name}")[1],
        pithosfs("restore", f"pithos/{name}", "--at", next_second(), "--to", f"pithos/{name}2", "--dry-run"),
        pithosfs.run("purge", f"pithos/{name}/x", answer="n\n").stderr,
        pithosfs("trash", "put", f"pithos/{name}"),
        pithosfs("trash", "list"),
    ]
    for each in said:
        assert shown in each
        assert all(char.isprintable() for char in each.replace("\n", "")), each
    pithosfs("trash", "empty", "--yes")


def test_what_comes_from_the_trash_goes_to_the_container_whatever_the_working_directory(
    mounted: MountedDisk, pithosfs: Pithosfs
) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"content")
    name, here = mounted.object(file), mounted.mount.mountpoint
    assert pithosfs("trash", "put", name, cwd=here) == f"pithos/{name} is trash/{name} now\n"
    assert pithosfs("trash", "restore", name, cwd=here) == f"pithos/{name} is back\n"
    assert file.read_bytes() == b"content"


def test_the_third_of_one_name_in_a_second_gets_its_own_in_the_trash(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    store, name = site.server.store("trash"), f"third-{os.getpid()}"
    with targets.connected(load(config=site.server.config, environ={})) as client:
        for expected in (name, f"{name} (now)", f"{name} (now, 2)", f"{name} (now, 3)"):
            assert trash._free_name(client, name) == expected
            store.put(expected, b"")
    for each in store.names(name):
        store.delete(each)


def test_purge_asks_and_keeps_what_is_there(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    path.write_bytes(noise(BLOCK, seed=5))
    path.write_bytes(noise(2 * BLOCK, seed=6))
    next_second()
    path.write_bytes(b"now")
    done = pithosfs.run("purge", path, answer="no\n")
    assert done.returncode != 0
    assert "2 versions" in done.stderr
    assert "frees up to 12M" in done.stderr
    assert len(json.loads(pithosfs("versions", path, "--json"))) == 3
    assert "up to 12M freed" in pithosfs("purge", path, "--yes")
    assert len(json.loads(pithosfs("versions", path, "--json"))) == 1
    assert path.read_bytes() == b"now"
    assert "no old versions" in pithosfs("purge", path)


@pytest.mark.parametrize("name", ["photo 😀", "photo", "\ue000"])
def test_purge_keeps_a_present_version_whatever_its_name(
    mounted: MountedDisk, pithosfs: Pithosfs, name: str
) -> None:
    """The store mixes up names with characters above U+FFFF with those that come after them."""
    for near in ("photo ", "photo 😁", "photn😀", "\ud7ff😀", "\ud7ff\U0010ffff😀"):
        mounted.store.put(f"{mounted.name}/{near}", near.encode())
    target = f"pithos/{mounted.name}/{name}"
    for content in (b"old", b"present"):
        mounted.store.put(f"{mounted.name}/{name}", content)
        next_second()
    assert "1 version destroyed" in pithosfs("purge", target, "--yes")
    assert mounted.store.get(f"{mounted.name}/{name}") == b"present"


def test_purging_what_is_older_than_1970_destroys_nothing(site: Site, pithosfs: Pithosfs) -> None:
    """Of a container whose objects are all deleted, but not their history."""
    container = f"purged-{os.getpid()}"
    site.mount(container, "--create")
    store = site.server.store(container)
    store.put("file", b"content")
    store.delete("file")
    for when, code in (("60 years ago", 2), ("1969-12-31", 2), ("@0", 1)):
        assert pithosfs.refused("purge", "--yes", "--before", when, f"{container}/")[0] == code
    assert len(json.loads(pithosfs("versions", f"{container}/file", "--json"))) == 1


def test_things_are_found_by_any_name(site: Site, pithosfs: Pithosfs, tmp_path: Path) -> None:
    container = f"names-{os.getpid()}"
    site.mount(container, "--create")
    store = site.server.store(container)
    names = ["file 😀", "dir/x", "/slash"]
    for each in (*names, "file", "dir.😀", "a"):
        store.put(each, each.encode())
    when = next_second()
    for number, name in enumerate(names):
        path = f"{container}/{name.removesuffix('/x')}"
        here = tmp_path / str(number)
        pithosfs("download", path, here)
        assert (here / "x" if name == "dir/x" else here).read_bytes() == name.encode()
        store.delete(name)
        done = pithosfs.run("restore", path, "--at", when)
        assert (done.returncode, store.get(name)) == (0, name.encode())
    assert pithosfs.refused("purge", f"{container}/dir")[0] == 2


def test_purge_says_what_it_cannot_tell_apart(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    """The store ends history by whole seconds, and must never end what is there now."""
    path = mounted.path / "file"
    next_second()
    for number in range(3):
        path.write_bytes(b"%d" % number)
    next_second()
    said = pithosfs("purge", path, "--yes")
    assert "no old versions" in said
    assert "the last full second before the present one was written" in said
    assert path.read_bytes() == b"2"


def test_a_long_number_is_a_version_before_it_is_a_time(tmp_path: Path) -> None:
    server = Server(tmp_path / "store")
    server.start()
    try:
        with contextlib.closing(sqlite3.connect(server.directory / "pithos.db")) as database, database:
            database.execute("UPDATE counter SET serial = 1234567890")
        for content in (b"one", b"two"):
            server.store().put("file", content)
        pithosfs = Pithosfs(environment(server, tmp_path / "home"))
        first, second = [
            str(each["number"]) for each in json.loads(pithosfs("versions", "pithos/file", "--json"))
        ]
        assert first > "1234567890"
        assert pithosfs.run("diff", "pithos/file", first, second).returncode == 1
        next_second()
        assert "the same" in pithosfs("diff", "pithos/file", second, str(int(time.time())))
    finally:
        server.stop()


def test_du_counts_each_block_once(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    content = noise(2 * BLOCK + 10, seed=8)
    for name in ("a", "b"):
        (mounted.path / name).write_bytes(content)
    with (mounted.path / "hole").open("wb") as file:
        file.truncate(10 * BLOCK)
    (mounted.path / "small").write_bytes(b"small")
    found = json.loads(pithosfs("du", mounted.path, "--dedup", "--json"))
    assert found["apparent"] == 2 * len(content) + 10 * BLOCK + 5
    assert found["stored"] == len(content) + 5
    assert found["blocks"] == 4
    assert "saved" in pithosfs("du", mounted.path, "--dedup")


def test_refresh_shows_what_others_did(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    slow = mounted.second("--dir-cache-time", "1h")
    assert os.listdir(slow) == []
    (mounted.path / "new").touch()
    time.sleep(1.5)  # the kernel may remember absences for a second
    assert os.listdir(slow) == []
    other = next(each for each in mounted._others)
    Pithosfs(dict(other.environment))("refresh", slow)
    assert os.listdir(slow) == ["new"]


def test_the_kernel_forgets_with_the_mount(mounted: MountedDisk) -> None:
    """What was restored, shared or fetched by a command is seen when it returns, not a second later."""
    mount = mounted.second_mount("--dir-cache-time", "1h")
    slow = mount.mountpoint / mounted.name
    names = [f"{mounted.name}/d/{each}" for each in ("changed", "deleted")]
    for name in names:
        mounted.store.put(name, b"short")
    assert (slow / "d" / "changed").read_bytes() == b"short"
    mounted.store.put(names[0], b"much longer than before")
    mounted.store.delete(names[1])
    mounted.store.put(f"{mounted.name}/d/new", b"new")
    assert [os.stat(slow / "d" / each).st_size for each in ("changed", "deleted")] == [5, 5]
    [socket] = Path(mount.environment["XDG_RUNTIME_DIR"]).glob(f"pithosfs/*{mount.process.pid}*.sock")
    assert control.ask(socket, "refresh", timeout=20, path=f"{mounted.name}/d") == 0
    assert os.stat(slow / "d" / "changed").st_size == 23
    with refused(errno.ENOENT):
        os.stat(slow / "d" / "deleted")
    assert (slow / "d" / "changed").read_bytes() == b"much longer than before"
    assert (slow / "d" / "new").read_bytes() == b"new"


def test_a_change_by_name_is_seen_in_all_mounts_that_show_it(
    mounted: MountedDisk, pithosfs: Pithosfs, tmp_path: Path
) -> None:
    """Also in one of a directory, or of the account; mounts that do not answer hold nothing up."""
    home = dict(mounted.mount.environment)
    (tmp_path / "new").write_bytes(b"new")
    (mounted.path / "d").mkdir()
    name = f"{mounted.name}/d"
    sources = {f"pithos/{name}": ".", "/": f"pithos/{name}"}
    mounts = [Mount(each, tmp_path / f"m{n}", home, SLOW) for n, each in enumerate(sources)]
    stuck = Mount("pithos", tmp_path / "stuck", home, SLOW)
    try:
        for each in (*mounts, stuck):
            each.start()
        places = [each.mountpoint / below for each, below in zip(mounts, sources.values(), strict=True)]
        assert [os.listdir(each) for each in places] == [[], []]
        os.kill(stuck.process.pid, signal.SIGSTOP)
        pithosfs("upload", tmp_path / "new", f"pithos/{name}/new")
        assert [os.listdir(each) for each in places] == [["new"], ["new"]]
        pithosfs("trash", "put", f"pithos/{name}/new")
        assert [os.listdir(each) for each in places] == [[], []]
        assert (mounts[1].mountpoint / "trash" / name / "new").read_bytes() == b"new"
        pithosfs("restore", f"pithos/{name}/new")
        assert [os.listdir(each) for each in places] == [["new"], ["new"]]
    finally:
        for each in (stuck, *mounts):
            each.destroy()


def test_warm_files_are_read_without_the_server(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    (mounted.path / "d").mkdir()
    content = {name: noise(BLOCK + 100, seed=number) for number, name in enumerate("abc")}
    for name, data in content.items():
        (mounted.path / "d" / name).write_bytes(data)
    mounted.remount(fresh_cache=True)
    assert "3 files" in pithosfs("warm", mounted.path / "d")
    with mounted.requests() as seen:
        for name, data in content.items():
            assert (mounted.path / "d" / name).read_bytes() == data
    assert [each for each in seen if each.bytes_out > 10_000] == []


def test_paths_are_understood_in_one_way(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"x")
    inside = pithosfs("versions", path, "--json")
    assert pithosfs("versions", f"pithos/{mounted.object(path)}", "--json") == inside
    assert pithosfs("versions", os.path.relpath(path), "--json") == inside
    code, line = pithosfs.refused("versions", "/etc/passwd")
    assert code == 7
    assert "no mounted directory" in line
    assert pithosfs.refused("versions", mounted.mount.mountpoint)[0] == 2
    assert (
        pithosfs.refused("versions", mounted.mount.mountpoint / ".pithos" / "at" / "yesterday" / "x")[0] == 2
    )
    assert pithosfs.refused("versions", "pithos/never/was")[0] == 5
    assert pithosfs.refused("versions", "nowhere/file")[0] == 5
    assert pithosfs.refused("restore", path, "--at", "soon")[0] == 2


def test_what_is_the_past_is_told_what_to_do_instead(mounted: MountedDisk, pithosfs: Pithosfs) -> None:
    (mounted.path / "file").write_bytes(b"x" * 5000)
    then = mounted.mount.mountpoint / ".pithos" / "at" / next_second() / mounted.name
    code, line = pithosfs.refused("versions", then / "file")
    assert (code, line.endswith(f"which stays as it is: name {mounted.path / 'file'} instead")) == (2, True)
    assert "--at" in pithosfs.refused("restore", then / "file")[1]
    code, line = pithosfs.refused("du", then / "file")
    advice = line.partition("add it up with: ")[2]
    done = subprocess.run(["sh", "-c", advice], capture_output=True, text=True, check=True)
    assert (code, done.stdout.split()[0]) == (2, "4.9K")
    versions = mounted.mount.mountpoint / ".pithos" / "versions" / "x"
    assert "name the file itself instead" in pithosfs.refused("versions", versions)[1]


def test_a_mount_of_the_past_is_no_way_to_change_the_present(mounted: MountedDisk, tmp_path: Path) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"first")
    when = next_second()
    path.write_bytes(b"second")
    mount = mounted.second_mount("--at", when)
    pithosfs = Pithosfs(dict(mount.environment))
    then = mount.mountpoint / mounted.name / "file"
    assert then.read_bytes() == b"first"
    name = f"pithos/{mounted.object(path)}"
    for words in (["trash", "put", then], ["purge", mount.mountpoint, "--yes"], ["upload", __file__, then]):
        code, line = pithosfs.refused(*words)
        assert (code, "is the past, which stays as it is: name pithos" in line) == (2, True), words
    assert f"name {name} instead" in pithosfs.refused("versions", then)[1]
    assert f"name {name} instead" in pithosfs.refused("restore", name, "--at", when, "--to", then)[1]
    assert "the time with --at" in pithosfs.refused("download", then, tmp_path / "down")[1]
    assert "du -sh --apparent-size" in pithosfs.refused("du", then)[1]
    assert pithosfs("warm", then) == "5B of 1 file are in the cache\n"
    assert path.read_bytes() == b"second"
    assert len(json.loads(pithosfs("versions", name, "--json"))) == 2


def test_advice_about_a_mount_of_the_past_works_as_it_is_given(mounted: MountedDisk, tmp_path: Path) -> None:
    """The command alone would take other settings, and so another object, or none."""
    path = mounted.path / "a file"
    path.write_bytes(b"first")
    when, elsewhere = next_second(), tmp_path / "its config"
    shutil.copy(mounted.mount.environment["KAMAKI_CONFIG"], elsewhere)
    mount = mounted.second_mount("--config", str(elsewhere), "--at", when)
    pithosfs = Pithosfs(dict(mount.environment))
    then, name = mount.mountpoint / mounted.name / "a file", f"'pithos/{mounted.object(path)}'"
    code, line = pithosfs.refused("versions", then)
    assert (code, line.partition(" it is: ")[2]) == (2, f"name {name} with --config '{elsewhere}' instead")
    words = shlex.split(line.partition(" it is: name ")[2].replace(" with ", " ").removesuffix(" instead"))
    assert len(json.loads(pithosfs("versions", *words, "--json"))) == 1
    line = pithosfs.refused("download", then, tmp_path)[1]
    assert line.endswith(f"name {name} with --config '{elsewhere}', and the time with --at")
    line = pithosfs.refused("restore", *words, "--at", when, "--to", then)[1]
    assert line.endswith(f": name {name} instead")  # it is of the account the first one is of


def test_a_mount_to_look_at_is_no_way_to_change_anything(mounted: MountedDisk, tmp_path: Path) -> None:
    path = mounted.path / "file"
    path.write_bytes(b"first")
    when = next_second()
    path.write_bytes(b"second")
    mount = mounted.second_mount("--read-only")
    pithosfs = Pithosfs(dict(mount.environment))
    seen, name = mount.mountpoint / mounted.name / "file", f"pithos/{mounted.object(path)}"
    for words in (
        ["trash", "put", seen],
        ["trash", "restore", "x", "--to", seen],
        ["purge", seen, "--yes"],
        ["restore", seen, "--at", when],
        ["restore", name, "--at", when, "--to", seen],
        ["publish", seen],
        ["unpublish", seen],
        ["share", seen, "--read", "*"],
        ["share", seen, "--none"],
        ["upload", __file__, seen],
    ):
        assert pithosfs.refused(*words) == (
            2,
            f"pithosfs {words[0]}: {seen} is in a mount with --read-only:"
            f" name {name}, or mount it without --read-only",
        )
    assert path.read_bytes() == b"second"
    assert len(json.loads(pithosfs("versions", seen, "--json"))) == 2
    assert "nobody else" in pithosfs("share", seen)
    assert "would bring back" in pithosfs("restore", seen, "--at", when, "--dry-run")
    pithosfs("du", seen)
    pithosfs("download", seen, tmp_path / "down")
    pithosfs("restore", seen, "--at", when, "--to", f"{name}-then")  # which is changed by its name
    pithosfs("trash", "put", name)
    assert mounted.store.names(mounted.object(path)) == [f"{mounted.object(path)}-then"]


@pytest.mark.parametrize("command", ["warm", "refresh"])
def test_commands_about_a_mount_want_something_in_one(
    mounted: MountedDisk, pithosfs: Pithosfs, command: str
) -> None:
    code, line = pithosfs.refused(command, mounted.path / "nope")
    assert (code, "nope" in line) == (5, True)
    for path in ("pithos/e", "/elsewhere"):
        assert pithosfs.refused(command, path, cwd=Path("/")) == (
            7,
            f"pithosfs {command}: {path} lies in no mounted directory: name something that is mounted"
            " (pithosfs status lists it)",
        )


def test_what_is_not_sent_yet_goes_to_the_trash_with_its_directory(
    mounted: MountedDisk, pithosfs: Pithosfs
) -> None:
    other = mounted.site.mount("pithos", "--write-back=20s")
    top = other.mountpoint / mounted.name
    try:
        (top / "dir").mkdir()
        for name in ("sent", "file"):
            (top / "dir" / name).write_bytes(b"content")
        with (top / "dir" / "sent").open("rb") as stream:
            os.fsync(stream.fileno())
        done = Pithosfs(dict(other.environment)).run("trash", "put", top / "dir")
        assert done.returncode == 0, done.stderr
        other.unmount()
        mounted.remount(fresh_cache=True)
        assert not (mounted.path / "dir").exists(), os.listdir(mounted.path / "dir")
    finally:
        mounted.site.discard(other)
