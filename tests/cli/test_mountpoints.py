from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pithosfs import mountpoints, registry
from pithosfs.cli import mount
from pithosfs.mountpoints import MountPointError, StillInUse

from .conftest import Place

LINE = (
    r"36 35 0:75 / /mnt/with\040space\011and\134 rw,nosuid,nodev shared:1 master:2 - fuse.pithosfs "
    r"pithos/a\040b rw,user_id=1000,group_id=1000"
)


def test_a_line_of_the_kernels_table() -> None:
    found = mountpoints._parse(LINE)
    assert found.path == "/mnt/with space\tand\\"
    assert (found.fstype, found.source, found.device, found.uid) == ("fuse.pithosfs", "pithos/a b", 75, 1000)
    assert found.is_ours


def test_a_line_without_optional_fields_and_owner() -> None:
    found = mountpoints._parse("22 1 254:1 / / rw,relatime - ext4 /dev/root rw")
    assert (found.path, found.fstype, found.source, found.uid) == ("/", "ext4", "/dev/root", None)
    assert not found.is_ours


def test_names_with_anything_that_could_end_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel writes a newline in octal, but none of the others."""
    table = tmp_path / "mountinfo"
    odd = "/mnt/a\rb\x0b\x0c\x1c\x85\u2028\u2029c"
    table.write_bytes(f"{LINE}\n36 35 0:76 / {odd} rw shared:1 - ext4 /dev/sda rw\n{LINE}\n".encode())
    monkeypatch.setattr(mountpoints, "_MOUNTINFO", table)
    assert [each.device for each in mountpoints.mounted()] == [75, 76, 75]
    assert mountpoints.mount_at(odd) is not None


def test_a_mount_in_use_is_said_so_in_any_language(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mount()
    for name in ("umount", "fusermount3"):
        tool = tmp_path / name
        tool.write_text(
            '#!/bin/sh\n[ "$LC_ALL" = C ] && echo target is busy >&2 || echo belegt >&2\nexit 32\n'
        )
        tool.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(StillInUse):
        mountpoints.unmount(str(place.mountpoint))


def test_the_topmost_of_two_mounts_counts(place: Place) -> None:
    place.mount()
    first = mountpoints.mount_at(place.mountpoint)
    assert first is not None
    assert first.is_ours
    assert first.uid == os.geteuid()
    assert first.device == os.minor(place.mountpoint.stat().st_dev)


class TestLocate:
    def test_agrees_with_realpath_where_nothing_is_mounted(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "up").symlink_to("a/b")
        (tmp_path / "chain").symlink_to(tmp_path / "up")
        (tmp_path / "a" / "back").symlink_to("../up/../..")
        (tmp_path / "broken").symlink_to("nowhere/at/all")
        for path in (
            "a/b",
            "a//b/",
            "up",
            "chain/..",
            "a/back/a",
            "broken",
            "missing/x/..",
            "../" * 50 + "etc",
        ):
            full = f"{tmp_path}/{path}"
            assert mountpoints.locate(full) == os.path.realpath(full), path

    def test_relative_to_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert mountpoints.locate("x/./y") == f"{os.path.realpath(tmp_path)}/x/y"

    def test_links_in_circles(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(MountPointError, match="too many symbolic links"):
            mountpoints.locate(tmp_path / "a")

    def test_does_not_ask_a_mount(self, place: Place) -> None:
        place.mount()
        place.kill()
        assert mountpoints.locate(place.mountpoint / "deep" / ".." / "file") == f"{place.mountpoint}/file"
        above = mountpoints.mount_above(f"{place.mountpoint}/file")
        assert above is not None
        assert above.path == str(place.mountpoint)
        assert mountpoints.mount_above(f"{place.mountpoint}-other") is None

    def test_asks_no_mount_behind_two_dots_either(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.mount()
        asked: list[str] = []
        look = mountpoints._link_target
        monkeypatch.setattr(
            mountpoints, "_link_target", lambda path: (asked.append(str(path)), look(path))[1]
        )
        assert mountpoints.locate(place.mountpoint / "a" / ".." / "b" / "c") == f"{place.mountpoint}/b/c"
        assert not [each for each in asked if each.startswith(str(place.mountpoint))]


def test_who_uses_a_mount(place: Place) -> None:
    place.mount()
    with (place.mountpoint / "file").open():
        assert os.getpid() in dict(mountpoints.users_of(str(place.mountpoint)))
    assert os.getpid() not in dict(mountpoints.users_of(str(place.mountpoint)))


def test_unmounting_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    mountpoints.unmount(str(tmp_path))


class TestPrepare:
    """What ``pithosfs mount`` says to the directory it is given."""

    @pytest.fixture(autouse=True)
    def runtime(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place.environment["XDG_RUNTIME_DIR"])

    def test_a_directory(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        assert mount.prepare(f"{place.folder}/../{place.folder.name}/mnt/") == str(place.mountpoint)
        assert not caplog.records

    def test_a_directory_with_something_in_it(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        (place.mountpoint / "hidden").touch()
        mount.prepare(str(place.mountpoint))
        assert "is not empty; what it holds is hidden while mounted" in caplog.text

    def test_nothing_there(self, place: Place) -> None:
        with pytest.raises(MountPointError, match=r"does not exist; make it with: mkdir -p /.*/missing$"):
            mount.prepare(str(place.folder / "missing"))

    def test_a_file(self, place: Place) -> None:
        (place.folder / "file").touch()
        with pytest.raises(MountPointError, match="is no directory"):
            mount.prepare(str(place.folder / "file"))

    def test_a_mount_of_ours(self, place: Place) -> None:
        place.mount()
        with pytest.raises(
            MountPointError, match=f"mounted already; unmount it with: pithosfs umount {place.mountpoint}"
        ):
            mount.prepare(str(place.mountpoint))
        assert (place.mountpoint / "file").exists()

    def test_a_mount_of_another_kind(self) -> None:
        with pytest.raises(MountPointError, match=r"something is mounted on /proc already \(type proc\)"):
            mount.prepare("/proc")

    def test_a_dead_mount_is_cleaned(self, place: Place) -> None:
        place.mount()
        place.kill()
        assert mount.prepare(str(place.mountpoint)) == str(place.mountpoint)
        assert place.is_over()
        assert list(place.mountpoint.iterdir()) == []

    def test_a_dead_mount_nobody_announced_is_cleaned(self, place: Place) -> None:
        place.mount()
        place.kill()
        for file in (place.folder / "run" / "pithosfs").iterdir():
            file.unlink()
        mount.prepare(str(place.mountpoint))
        assert place.is_over()


class TestRegistry:
    @pytest.fixture(autouse=True)
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        return tmp_path

    def test_the_directory_is_made_private(self, runtime: Path) -> None:
        assert registry.directory() == runtime / "pithosfs"
        assert stat.S_IMODE((runtime / "pithosfs").stat().st_mode) == 0o700

    @pytest.mark.parametrize("trap", ["open", "link", "file"])
    def test_a_directory_that_others_may_have_prepared_is_not_used(self, runtime: Path, trap: str) -> None:
        path = runtime / "pithosfs"
        if trap == "open":
            path.mkdir()
            path.chmod(0o770)
        elif trap == "link":
            (runtime / "elsewhere").mkdir(mode=0o700)
            path.symlink_to("elsewhere")
        else:
            path.touch(0o600)
        assert registry.directory() != path

    def test_another_users_directory_is_not_used(self, runtime: Path) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        (runtime / "pithosfs").mkdir(mode=0o700)
        os.chown(runtime / "pithosfs", 65534, 65534)
        assert registry.directory() != runtime / "pithosfs"

    def test_announced_is_found(self) -> None:
        entry = registry.entry_for("/mnt/\udcff", "pithos/x", 7)
        registry.announce(entry)
        assert registry.find("/mnt/\udcff") == entry
        assert registry.find("/mnt") is None
        assert entry.is_running()
        entry.forget()
        assert registry.find("/mnt/\udcff") is None
        assert not list(registry.directory().iterdir())

    def test_a_number_used_again_is_not_the_process(self) -> None:
        entry = registry.entry_for("/mnt", "pithos", 7)
        reused = registry.Entry(**{**_fields(entry), "born": entry.born - 1})
        assert not reused.is_running()

    def test_other_files_are_passed_over(self, runtime: Path) -> None:
        folder = registry.directory()
        (folder / "1.json").write_text("{")
        (folder / "2.json").write_text('{"mountpoint": "/x"}')
        (folder / "3.json").write_text("[]")
        assert not [each for each in registry.entries() if each.file.parent == folder]

    def test_a_process_that_is_not(self) -> None:
        assert registry.birth(2**22 + 1) is None
        assert registry.birth(os.getpid()) is not None


def _fields(entry: registry.Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in registry.Entry.__dataclass_fields__}
