"""How the benchmark runs: in what order, and what is verified of what was done."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.benchlib import modules

Load = Callable[[str], Any]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    with modules() as loading:
        yield loading


@pytest.fixture
def corpus(load: Load, tmp_path: Path) -> Any:
    """A big file of 1 MiB, and three small ones."""
    sizes = load("corpus").Sizes(1 << 20, 3, 1, 3, 1, 3, 3, patience=20.0)
    return load("corpus").Corpus(tmp_path / "files", sizes, "seed")


@pytest.fixture
def mount(load: Load, corpus: Any, tmp_path: Path) -> Iterator[Any]:
    """A mount that is a plain directory, with the big file in it."""
    mount = load("mounts").Mount(None, "", corpus, tmp_path / "system")
    (mount.top / "big.bin").write_bytes(corpus.big.read_bytes())
    yield mount
    mount.close()


def test_what_was_read_is_hashed_in_the_file_that_is_still_open(corpus: Any, mount: Any) -> None:
    sha256 = mount.read("big.bin")
    (mount.top / "other").write_bytes(bytes(1 << 20))
    (mount.top / "other").rename(mount.top / "big.bin")
    assert sha256() == corpus.content().sha256
    assert mount.read("big.bin")() != corpus.content().sha256
    assert not multiprocessing.active_children()


def test_a_file_that_was_read_is_not_kept_open_beyond_the_mount(mount: Any) -> None:
    mount.read("big.bin")
    assert len(multiprocessing.active_children()) == 1
    mount.stop()
    assert not multiprocessing.active_children()


def test_a_file_of_another_size_is_not_the_one_that_was_written(load: Load, mount: Any) -> None:
    (mount.top / "big.bin").write_bytes(b"short")
    with pytest.raises(load("processes").Failed, match="5 bytes read of 1048576"):
        mount.read("big.bin")


def test_a_child_that_hangs_or_fails_or_dies_is_told_from_one_that_answers(load: Load) -> None:
    in_child, failed = load("children").in_child, load("processes").Failed
    released: list[bool] = []

    def do(call: Callable[..., Any], *arguments: Any, patience: float = 60.0) -> Any:
        return in_child(patience, lambda: released.append(True), call, *arguments)

    assert do(len, "four") == 4
    with pytest.raises(failed, match=r"stat: .*No such file"):
        do(Path.stat, Path("/no/such/file"))
    with pytest.raises(failed, match="exit: the process that called it died"):
        do(sys.exit)
    assert not released
    with pytest.raises(failed, match="sleep: not done after 0 s"):
        do(time.sleep, 60, patience=0.2)
    assert released
    assert not multiprocessing.active_children()


def test_the_big_file_is_hashed_anew_when_it_changed(load: Load, corpus: Any) -> None:
    for change in (corpus.change, corpus.append):
        before = corpus.content()
        change(corpus.big)
        assert corpus.content() == load("store").Content.of(corpus.big) != before
