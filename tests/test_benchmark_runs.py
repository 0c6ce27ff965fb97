"""How the benchmark runs: in what order, and what is verified of what was done."""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pithosfs import blocks
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
def bench(load: Load, corpus: Any, tmp_path: Path) -> Iterator[Any]:
    """A benchmark of as little, with a server and a network of its own."""
    with load("servers").embedded(tmp_path) as place:
        address = place.endpoint.split("/")[2]
        with load("network").proxied(sys.executable, address, tmp_path, None) as proxy:
            yield load("runner").Bench(place, proxy, tmp_path, corpus.sizes)


@pytest.fixture
def run(load: Load, bench: Any) -> Callable[..., Any]:
    """Run workloads, by their keys, on systems; the errors by (workload, system), in order."""

    def running(keys: str, *systems: type[Any]) -> dict[tuple[str, str], str]:
        chosen = [each for each in load("workloads").WORKLOADS if each.key in keys.split()]
        bench.run(load("network").NETWORKS["0"], systems, chosen)
        return {(each.workload, each.system): each.error for each in bench.results}

    return running


def logged(load: Load, log: list[str], called: str) -> Any:
    """A system of plain requests, called so, that writes into ``log`` what it is asked for."""

    class Logged(load("tools").Raw):  # type: ignore[misc]
        name = called

        def fresh(self) -> None:
            log.append(f"{called} fresh")

        def read(self, name: str) -> Callable[[], str]:
            log.append(f"{called} read")
            return super().read(name)  # type: ignore[no-any-return]

        def reread(self, name: str) -> Callable[[], str]:
            log.append(f"{called} reread")
            return super().read(name)  # type: ignore[no-any-return]

        def random_reads(self, name: str) -> None:
            log.append(f"{called} random_reads")

        def rename(self, old: str, new: str) -> None:
            log.append(f"{called} rename")
            super().rename(old, new)

        def delete_tree(self, name: str) -> None:
            log.append(f"{called} delete_tree")
            super().delete_tree(name)

    return Logged


def sequences(load: Load, keys: str) -> str:
    """Workloads by their keys, and those that belong together again so."""
    workloads = load("workloads")
    chosen = [each for each in workloads.WORKLOADS if keys == "all" or each.key in keys.split()]
    return ", ".join(" ".join(each.key for each in group) for group in workloads.sequences(chosen))


def test_workloads_belong_together_wherever_several_of_them_are_chosen(load: Load) -> None:
    assert sequences(load, "all") == "a, b c, d, e, f, g, h, i, j, k1 k2 l, m, n1 n2, n3"
    assert sequences(load, "c k1 l n2 n3") == "c, k1 l, n2, n3"
    assert sequences(load, "a c j l m") == "a, c, j, l, m"


def test_a_system_does_what_belongs_together_before_the_next_begins(load: Load, run: Any) -> None:
    log: list[str] = []
    errors = run("b c d", logged(load, log, "one"), logged(load, log, "two"))
    one, two = (
        [f"{name} {action}" for action in ("fresh", "read", "reread", "fresh", "random_reads")]
        for name in ("one", "two")
    )
    assert log == one[:3] + two[:3] + one[3:] + two[3:]
    assert list(errors) == [(key, name) for key in "bcd" for name in ("one", "two")]
    assert not any(errors.values())


def test_nothing_comes_between_that_can_be_before_or_after(
    load: Load, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    store = load("store").Store
    upload, verify = store.upload, store.verify

    def uploading(self: Any, *words: Any, **headers: str) -> None:
        log.append("put")
        upload(self, *words, **headers)

    def verifying(self: Any, *words: Any) -> None:
        log.append("verify")
        verify(self, *words)

    monkeypatch.setattr(store, "upload", uploading)
    monkeypatch.setattr(store, "verify", verifying)
    monkeypatch.setattr(load("runner").os, "sync", lambda: log.append("sync"))
    errors = run("k1 k2 l", logged(load, log, "it"))
    assert log == ["put", "it fresh", "sync", "it rename", "it rename", "it delete_tree", *["verify"] * 3]
    assert errors == {("k1", "it"): "", ("k2", "it"): "", ("l", "it"): ""}


def test_what_is_seen_late_counts_from_when_the_server_had_it(
    load: Load, run: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = load("store").Store
    wait_for = store.wait_for
    monkeypatch.setattr(store, "wait_for", lambda *words: wait_for(*words) + 1000)
    assert run("a", load("tools").Raw) == {("a", "raw"): ""}
    assert bench.results[0].returned <= bench.results[0].seconds < 1000


def test_what_takes_long_is_done_once(
    load: Load, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    workloads, report = load("workloads").WORKLOADS, load("report")
    chosen = [each for each in workloads if each.key in ("b", "c", "e")]
    took = bench._timed

    def timed(case: Any, workload: Any, expected: Any, result: Any) -> Any:
        answer = took(case, workload, expected, result)
        result.seconds = {"b": 1.0, "c": load("runner").LONG, "e": 1.0}[workload.key]
        return answer

    monkeypatch.setattr(type(bench), "_timed", lambda self, *words: timed(*words))
    bench.run(load("network").NETWORKS["0"], [logged(load, log, "it")], chosen, 3)
    results = report.Results.of(bench.sizes, "it", bench.results, bench.totals, bench.in_turn)
    assert results.rounds == {("0", "b"): 1, ("0", "c"): 1, ("0", "e"): 3}
    assert len(bench.totals) == 1
    report.write_page(tmp_path / "page.md", results, [], "scripts/bench", "a server", [])
    text = (tmp_path / "page.md").read_text()
    assert "median of 3 rounds. What takes long was done once: b, c (RTT 0 ms)." in text


@pytest.mark.parametrize(("seconds", "again"), [(1.0, ["n1", "n2", "n3"]), (100.0, [])])
def test_what_goes_on_from_something_long_is_done_once_too(
    load: Load, bench: Any, seconds: float, again: list[str]
) -> None:
    network = load("network").NETWORKS["0"]
    chosen = [each for each in load("workloads").WORKLOADS if each.key in ("n1", "n2", "n3")]
    took = {"n1": seconds, "n2": 0.1, "n3": 0.1}
    bench.results += [load("runner").Result(key, "it", network.name, each) for key, each in took.items()]
    assert [each.key for each in bench._short(chosen, network)] == again


def test_one_of_them_can_be_alone(load: Load, run: Any) -> None:
    log: list[str] = []
    errors = run("c", logged(load, log, "it"))
    assert log == ["it fresh", "it reread"]  # afresh, for the file was put there
    assert errors == {("c", "it"): ""}


def test_what_the_next_one_removes_is_verified_all_the_same(
    load: Load, run: Any, corpus: Any, tmp_path: Path
) -> None:
    name = corpus.moved[1]
    block = blocks.block_hash(name.encode().ljust(load("corpus").SMALL))

    class Spoiling(logged(load, [], "it")):  # type: ignore[misc]
        def rename(self, old: str, new: str) -> None:
            super().rename(old, new)
            path = tmp_path / "server" / "blocks" / block[:2] / block
            path.write_bytes(path.read_bytes().upper())

    errors = run("k1 l", Spoiling)
    assert errors == {
        ("k1", "it"): f"{name.replace('moving', 'moved')}: the server gives other bytes than were written",
        ("l", "it"): "",
    }


@pytest.mark.parametrize("wrong", ["read", "reread"])
def test_wrong_bytes_are_the_fault_of_who_read_them(load: Load, run: Any, wrong: str) -> None:
    system = logged(load, [], "it")
    setattr(system, wrong, lambda self, name: lambda: "another hash")
    errors = run("b c", system)
    assert [key for (key, _), error in errors.items() if "other bytes" in error] == [
        {"read": "b", "reread": "c"}[wrong]
    ]


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


def test_files_put_there_have_the_time_that_the_system_would_have_sent(load: Load, run: Any) -> None:
    types: dict[str, str] = {}

    class Looking(logged(load, [], "it")):  # type: ignore[misc]
        times_in_types = True

        def read(self, name: str) -> Callable[[], str]:
            types.update((name, each["content_type"]) for name, each in self.store.listing().items())
            return super().read(name)  # type: ignore[no-any-return]

    assert run("b", Looking) == {("b", "it"): ""}
    assert types == {"big.bin": "application/octet-stream; mtime=1500000000.000000000; mode=0644"}


@pytest.mark.parametrize(
    ("target", "counted"),
    [
        ("/v1/me/bench-12-3", True),
        ("/v1/me/bench-12-3?format=json", True),
        ("/v1/me/bench-12-3/d/file?version=7", True),
        ("/v1/me?format=json", True),
        ("/v1/me/bench-12-31/file", False),
        ("/v1/me/bench-12-4/file?version=list", False),
    ],
)
def test_requests_for_others_containers_are_not_counted(load: Load, target: str, counted: bool) -> None:
    assert bool(re.search(load("runner")._of("bench-12-3"), target)) is counted
