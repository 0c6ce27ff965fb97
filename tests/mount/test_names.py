"""Names that other file systems and object stores stumble over."""

from __future__ import annotations

import os
import unicodedata

import pytest

from tests.support.disks import Disk, MountedDisk
from tests.support.files import BLOCK, noise
from tests.support.processes import run

ODD = [
    "space",
    " leading space",
    "trailing space ",
    "two  spaces",
    "trailing.dot.",
    "...",
    ".hidden",
    "-leading-dash",
    "--help",
    "~tilde~",
    "percent%",
    "%41",
    "%2F",
    "%00",
    "question?mark",
    "hash#mark",
    "amp&ersand=equals",
    "semi;colon, comma",
    "plus+plus",
    "quote'quote",
    'double"quote',
    "back\\slash",
    "colon:colon",
    "star*[brackets]{braces}",
    "pipe|<angle>",
    "new\nline",
    "newline at the end\n",
    "\n",
    "carriage\rreturn",
    "tab\tbed",
    "bell\a and \x1b escape \x7f",
    "ünïcödé",
    "日本語",
    "\U0001f600",
    "dir.\U0001f600",
    "\U0010fffd",
    "\u200bzero width",
    "\u202eright to left",
    "\ufeffbom",
    "x.json",
    "data.xml",
    "con",
    "?hashmap",
    "name (conflict 2020-01-01 00.00.00 host).txt",
    "n" * 255,
    "ü" * 127,
    "\U0001f600" * 63,
    "%" * 255,
]
RAW = [b"caf\xe9", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"a\x80b", b"\xf4\x90\x80\x80", b"ok \xfe end"]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_any_name_for_a_file(disk: Disk, name: str) -> None:
    (disk.path / name).write_bytes(b"content")
    assert os.listdir(disk.path) == [name]
    assert (disk.path / name).read_bytes() == b"content"
    (disk.path / name).write_bytes(b"changed")
    (disk.path / name).rename(disk.path / "usual")
    (disk.path / "usual").rename(disk.path / name)
    assert os.listdir(disk.path) == [name]
    (disk.path / name).unlink()
    assert os.listdir(disk.path) == []


@pytest.mark.parametrize("name", RAW)
def test_names_that_are_no_text(disk: Disk, name: bytes) -> None:
    file = os.path.join(os.fsencode(disk.path), name)
    with open(file, "wb") as out:
        out.write(b"content")
    assert os.listdir(os.fsencode(disk.path)) == [name]
    os.rename(file, file + b"2")
    assert os.listdir(os.fsencode(disk.path)) == [name + b"2"]
    os.unlink(file + b"2")
    assert os.listdir(disk.path) == []


def test_all_of_them_survive_a_remount(disk: Disk) -> None:
    """As files, as directories and inside of each other, with content."""
    names = sorted({os.fsencode(name) for name in ODD} | set(RAW))
    root = os.fsencode(disk.path)
    for number, name in enumerate(names):
        with open(os.path.join(root, name), "wb") as out:
            out.write(noise(100 + number, number))
    os.mkdir(os.path.join(root, b"d"))
    for name in names:
        os.mkdir(os.path.join(root, b"d", name))
        if len(name) < 100:
            with open(os.path.join(root, b"d", name, name), "wb") as out:
                out.write(name)
    disk.remount(fresh_cache=True)
    assert sorted(os.listdir(root)) == sorted([*names, b"d"])
    assert sorted(os.listdir(os.path.join(root, b"d"))) == names
    for number, name in enumerate(names):
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == noise(100 + number, number)
        if len(name) < 100:
            with open(os.path.join(root, b"d", name, name), "rb") as file:
                assert file.read() == name
    run("rm", "-r", disk.path / "d")
    assert sorted(os.listdir(root)) == names


def test_composed_and_decomposed_letters_are_different_names(disk: Disk) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (disk.path / composed).write_bytes(b"composed")
    (disk.path / decomposed).write_bytes(b"decomposed")
    disk.remount(fresh_cache=True)
    assert sorted(os.listdir(disk.path)) == sorted([composed, decomposed])
    assert (disk.path / composed).read_bytes() == b"composed"
    assert (disk.path / decomposed).read_bytes() == b"decomposed"


def test_upper_and_lower_case_are_different_names(disk: Disk) -> None:
    for name in ("readme", "README", "ReadMe"):
        (disk.path / name).write_bytes(name.encode())
    disk.remount(fresh_cache=True)
    assert {p.name: p.read_bytes().decode() for p in disk.path.iterdir()} == {
        name: name for name in ("readme", "README", "ReadMe")
    }


def test_odd_directories_are_renamed_with_all_below(disk: Disk) -> None:
    for name in ("%41", "new\nline", "\U0001f600", "#?&"):
        (disk.path / name / name).mkdir(parents=True)
        (disk.path / name / name / name).write_bytes(name.encode())
        (disk.path / name).rename(disk.path / f"{name} renamed")
    disk.remount(fresh_cache=True)
    for name in ("%41", "new\nline", "\U0001f600", "#?&"):
        assert (disk.path / f"{name} renamed" / name / name).read_bytes() == name.encode()


def test_names_are_objects_of_the_same_name(mounted: MountedDisk) -> None:
    """Other clients see exactly what the user typed, wherever the store can hold it."""
    usual = ["a b", "ünïcödé", "\U0001f600", "%41", "#?&", 'quote"', "back\\slash", "-x", "trailing."]
    for name in usual:
        (mounted.path / name).write_bytes(name.encode())
    assert sorted(mounted.store.names(f"{mounted.name}/")) == sorted(f"{mounted.name}/{n}" for n in usual)
    for name in usual:
        assert mounted.store.get(f"{mounted.name}/{name}") == name.encode()


def test_large_file_with_an_odd_name(disk: Disk) -> None:
    name = "100% größer? #1 „so“.bin"
    (disk.path / name).write_bytes(noise(2 * BLOCK + 1))
    disk.remount(fresh_cache=True)
    assert (disk.path / name).read_bytes() == noise(2 * BLOCK + 1)
