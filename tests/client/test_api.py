"""The API client against what a real Pithos server answered, and against what none would."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pithosfs import blocks, errors, wire
from pithosfs.api import Client, ContainerInfo, Entry, Version, Written
from pithosfs.api.listings import askable
from pithosfs.attributes import DIRECTORY_TYPE
from pithosfs.options import MountOptions
from pithosfs.source import find_source
from pithosfs.transport import Transport
from tests.client.scripted import DATA, Exchange, Scripted, Step, hang_up

Serve = Callable[..., Scripted]
Connect = Callable[..., Transport]

ALICE = "11111111-1111-1111-1111-111111111111"
BOB = "22222222-2222-2222-2222-222222222222"
PREFIX = "/pithos/object-store/v1"
RECORDED: dict[str, Any] = {
    each["name"]: each for each in map(json.loads, (DATA / "recorded.jsonl").read_text().splitlines())
}
#: Of no meaning to the store, or different with each client.
IGNORED = {"host", "x-auth-token", "content-length", "user-agent", "accept-encoding", "connection"}


def replay(name: str) -> Step:
    """Answer as the real server did."""
    said = RECORDED[name]["response"]
    headers = {key: value for key, value in said["headers"] if key not in ("Connection", "Transfer-Encoding")}
    return lambda exchange: exchange.answer(said["status"], base64.b64decode(said["body_b64"]), headers)


def same_request(sent: Exchange, name: str) -> None:
    """The request is the recorded one, but for what each client does its own way."""
    recorded = RECORDED[name]["request"]
    path, _, query = sent.target.partition("?")
    assert (sent.method, path) == (recorded["method"], recorded["path"])
    asked = dict(parse_qsl(recorded["query"], keep_blank_values=True))
    got = dict(parse_qsl(query, keep_blank_values=True))
    for harmless in ("format", "limit"):
        asked.pop(harmless, None), got.pop(harmless, None)
    assert got == asked
    wanted = {key.lower(): value for key, value in recorded["headers"]}
    assert {k: v.strip('"') for k, v in sent.headers.items() if k not in IGNORED} == {
        key: value.strip('"') for key, value in wanted.items() if key not in IGNORED
    }
    body = base64.b64decode(recorded.get("body_b64", ""))
    if body.startswith(b"{"):
        assert json.loads(sent.body) == json.loads(body)
    else:
        assert sent.body == body


@pytest.fixture
def real(serve: Serve, connect: Connect) -> Callable[..., Any]:
    """Call a client whose server answers as recorded; check the request, return the result."""

    def call(name: str, method: str, *arguments: Any, **options: Any) -> Any:
        server = serve(replay(name))
        account = RECORDED[name]["request"]["path"].removeprefix(PREFIX + "/").partition("/")[0] or ALICE
        client = Client(connect(retries=0), server.url + PREFIX, account)
        try:
            return getattr(client, method)(*arguments, **options)
        finally:
            assert len(server.requests) == 1
            same_request(server.requests[0], name)

    return call


@pytest.fixture
def pithos(serve: Serve, connect: Connect) -> Callable[..., tuple[Client, Scripted]]:
    """A client and its server, which follows a script."""

    def make(*steps: Step, **options: Any) -> tuple[Client, Scripted]:
        server = serve(*steps)
        return Client(connect(**{"retries": 0, **options}), server.url + "/v1", "me"), server

    return make


def say(status: int = 200, body: Any = b"", **headers: str) -> Step:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda each: each.answer(status, data, {k.replace("_", "-"): v for k, v in headers.items()})


# -- the account and containers -------------------------------------------------------------


def test_account(real: Callable[..., Any]) -> None:
    info = real("account/head", "account")
    assert (info.bytes_used, info.quota, info.containers) == (4194312, 107374182400, 4)
    info = real("account/head-with-meta-and-group", "account")
    assert (info.groups, info.meta) == ({"friends": (BOB,)}, {"colour": "blue"})
    others = real("share/bob-head-account", "account")
    assert (others.bytes_used, others.quota, others.groups) == (0, 0, {})
    with pytest.raises(errors.Forbidden, match="read access to the account"):
        real("account/bob-get-alice-nothing-shared", "containers")


def test_containers(real: Callable[..., Any]) -> None:
    containers = real("account/get-json", "containers")
    assert [each.name for each in containers] == ["w-acc-a", "w-acc-b", "w-acc-c", "w-fresh"]
    assert containers[0] == ContainerInfo(
        "w-acc-a", count=1, bytes_used=5, last_modified="2026-11-22T08:34:46.133082+00:00"
    )
    assert real("account/bob-own-empty-json", "containers") == []
    assert [each.name for each in real("share/bob-list-containers-json", "containers")] == ["w-share"]
    assert real("share/bob-list-accounts-json", "sharing_accounts") == [ALICE]


def test_container(real: Callable[..., Any]) -> None:
    info = real("container/head-after-meta-update", "container", "w-cont")
    assert (info.name, info.count, info.block_size) == ("w-cont", 0, 4194304)
    assert (info.quota, info.versioning, info.meta_keys) == (0, "auto", frozenset())
    assert info.meta == {"kind": "test", "other-key": "v", "two": "2"}
    assert real("share/bob-head-container", "container", "w-share").meta_keys == {"k"}
    with pytest.raises(errors.NotFound, match=r"^w-cont: not found \(404\)$"):
        real("container/head-missing", "container", "w-cont")


def test_making_changing_and_deleting_containers(real: Callable[..., Any]) -> None:
    real("container/create", "create_container", "w-cont")
    real("container/create-again", "create_container", "w-cont")
    real("container/post-policy", "update_container", "w-cont", quota=123456, versioning="none")
    real("container/delete-empty-with-history", "delete_container", "w-cont")
    with pytest.raises(errors.Conflict, match="w-cont: Container is not empty"):
        real("container/delete-not-empty", "delete_container", "w-cont")
    real("container/delete-until-now", "purge", "w-cont", None, 1795336490)


def test_groups(real: Callable[..., Any]) -> None:
    real("account/post-group", "set_groups", {"Friends": [BOB]})


# -- listings -------------------------------------------------------------------------------------


def test_a_listing(real: Callable[..., Any]) -> None:
    page = real("list/json", "list_page", "w-list")
    assert (len(page.entries), page.subdirs, page.marker) == (29, [], None)
    assert page.last_modified == "Sun, 22 Nov 2026 08:34:51 GMT"
    assert page.date == 1795336491
    assert page.entries[0] == Entry(
        name="%25",
        size=3,
        content_type="text/plain",
        hash="77ab0fcec094f1fc17870e22358363bffea4652997ac5947d6f543cc07ce3307",
        uuid="2543e134-b666-4195-888b-f65830219d7f",
        version=66,
        modified_ns=1795336491108463000,
        modified_by=ALICE,
    )
    names = [each.name for each in page.entries]
    assert names == sorted(names)  # code points order as the bytes of UTF-8 do
    assert names[-1] == "😀"


def test_a_listing_of_a_directory(real: Callable[..., Any]) -> None:
    page = real("list/delimiter-json", "list_page", "w-list", delimiter=True)
    assert page.subdirs == ["a/", "dir/", "dir2/", "virt/"]
    assert [each.name for each in page.entries if each.name.startswith("a")] == [
        "a",
        "a b",
        "a-1",
        "a.txt",
        "a/",
        "a0",
    ]
    page = real("list/delimiter-prefix-a/", "list_page", "w-list", prefix="a/", delimiter=True)
    assert ([each.name for each in page.entries], page.subdirs) == (["a/", "a/b", "a/z"], ["a/b/"])


def test_what_listings_tell_of_sharing(real: Callable[..., Any]) -> None:
    entry = real("share/bob-list-objects-json", "list_page", "w-share").entries[0]
    assert (entry.sharing, entry.allowed_to, entry.public) == (f"read={BOB}", "read", None)
    shared = real("share/dir-owner-list", "list_page", "w-share").entries
    assert shared[0].public == "http://127.0.0.1:8085/pithos/public/xfhsw0HdNw8mRT2xmsbxH3"
    assert {each.modified_by for each in shared} == {ALICE, BOB}
    public = real("public/listing-json", "list_page", "w-share").entries[0]
    assert public.public == "http://127.0.0.1:8085/pithos/public/M3xQE1ZOKu3yCW8dP74wU3"
    assert real("list/shared-none-json", "list_page", "w-list", shared=True).entries == []


def test_a_listing_of_the_past(real: Callable[..., Any]) -> None:
    page = real("until/list-t1-json", "list_page", "w-until", until=1795336497)
    assert [(each.name, each.modified_ns) for each in page.entries] == [
        ("a", 1795336496077707000),
        ("d/x", 1795336496141821000),
    ]


def test_a_missing_container(real: Callable[..., Any]) -> None:
    with pytest.raises(errors.NotFound):
        real("container/get-missing-json", "list_page", "w-cont")


def test_a_server_that_fails(real: Callable[..., Any]) -> None:
    client_sends_it_never = RECORDED["list/prefix-emoji-json"]["request"]["query"]
    assert unquote(client_sends_it_never).endswith("prefix=😀")
    assert askable("😀") == ""
    assert askable("dir/a😀😀") == "dir/a"
    assert askable("😀/") == "😀/"


def objects(*names: str) -> list[dict[str, Any]]:
    return [{"subdir": n[1:]} if n.startswith(">") else {"name": n, "bytes": 0} for n in names]


def test_what_lies_outside_the_prefix_is_left_out(pithos: Callable[..., Any]) -> None:
    """The store lets names like ``dir.<emoji>`` into a listing of ``dir/``."""
    client, server = pithos(say(200, objects("dir.😀x", "dir/one", ">dir.😀/", ">dir/sub/", "dir/two")))
    page = client.list_page("c", prefix="dir/", delimiter=True)
    assert ([each.name for each in page.entries], page.subdirs) == (["dir/one", "dir/two"], ["dir/sub/"])
    assert "prefix=dir/&delimiter=/" in server.requests[0].target
    assert [e.name for e in client.list_page("c", prefix="dir/t").entries] == ["dir/two"]


@pytest.mark.parametrize("prefix", ["a", "a/"])
def test_a_directory_is_asked_for_with_its_slash(pithos: Callable[..., Any], prefix: str) -> None:
    client, server = pithos(say(200, objects("a/b")))
    assert client.list_page("c", prefix=prefix, delimiter=True).entries[0].name == "a/b"
    assert "prefix=a/&" in server.requests[0].target


def test_names_that_begin_with_a_slash(pithos: Callable[..., Any]) -> None:
    """The store drops that slash from a prefix and would list something else."""
    client, server = pithos(say(200, objects("/x", "x")))
    assert [each.name for each in client.list_page("c", prefix="/").entries] == ["/x"]
    assert "prefix" not in server.requests[0].target
    with pytest.raises(errors.BadRequest):
        client.list_page("c", prefix="/x/", delimiter=True)


class Store:
    """Lists names as the store does: after the marker, subdirectories again if the marker names them."""

    def __init__(self, *names: str) -> None:
        self.names = sorted(names)

    def __call__(self, exchange: Exchange) -> None:
        query = dict(parse_qsl(exchange.target.partition("?")[2]))
        prefix, marker = query.get("prefix", ""), query.get("marker", "")
        items: dict[tuple[str, bool], dict[str, Any]] = {}
        for name in self.names:
            if name > marker and name.startswith(prefix):
                cut = name.find("/", len(prefix)) if "delimiter" in query else -1
                if cut >= 0 and name != name[: cut + 1]:
                    items[name[: cut + 1], True] = {"subdir": name[: cut + 1]}
                else:
                    items[name, False] = {"name": name, "bytes": 0}
        exchange.answer(200, json.dumps(list(items.values())[: int(query["limit"])]))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("delimiter", [False, True])
def test_pages_go_on_behind_virtual_directories(
    pithos: Callable[..., Any], limit: int, delimiter: bool
) -> None:
    names = ["a", "a-", "a/", "a/1", "a/2", "a/2/x", "a0", "virt/1", "virt/2/3", "é/x", "日", "😀/1", "😀2"]
    client, _ = pithos(Store(*names))
    pages = list(client.list_all("c", delimiter=delimiter, limit=limit))
    entries = [each.name for page in pages for each in page.entries]
    subdirs = [each for page in pages for each in page.subdirs]
    if delimiter:
        assert entries == ["a", "a-", "a/", "a0", "日", "😀2"]
        assert subdirs == ["a/", "virt/", "é/", "😀/"]
    else:
        assert (entries, subdirs) == (names, [])
    assert all(len(page.entries) + len(page.subdirs) <= limit for page in pages)


@pytest.mark.parametrize("items", [objects("a"), objects(">a/"), objects("z", "a")])
def test_a_listing_that_never_ends_is_an_error(pithos: Callable[..., Any], items: list[Any]) -> None:
    client, server = pithos(say(200, items))
    with pytest.raises(errors.ProtocolError, match="does not go on"):
        list(client.list_all("c", limit=len(items)))
    assert len(server.requests) == 2


def test_an_unchanged_listing(pithos: Callable[..., Any]) -> None:
    client, server = pithos(lambda each: each.send(b"HTTP/1.1 304 NOT MODIFIED\r\nContent-Length: 0\r\n\r\n"))
    stamp = "Sun, 22 Nov 2026 08:34:51 GMT"
    assert client.list_page("c", modified_since=stamp) is None
    assert server.requests[0].headers["if-modified-since"] == stamp
    with pytest.raises(errors.ProtocolError, match="304"):
        list(client.list_all("c"))


@pytest.mark.parametrize("answer", [say(204), say(200, b"", Content_Type="text/plain"), say(200, [])])
def test_an_empty_listing_comes_in_several_ways(pithos: Callable[..., Any], answer: Step) -> None:
    client, _ = pithos(answer)
    page = client.list_page("c")
    assert (page.entries, page.subdirs, page.marker) == ([], [], None)
    assert client.containers() == client.sharing_accounts() == []


def test_all_parameters_of_a_listing(pithos: Callable[..., Any]) -> None:
    client, server = pithos(say(200, []))
    client.list_page(
        "c é",
        prefix="p&=/",
        delimiter=True,
        marker="m?#",
        limit=7,
        until=12,
        meta="!a=b,c",
        shared=True,
        public=True,
    )
    path, _, query = server.requests[0].target.partition("?")
    assert path == "/v1/me/c%20%C3%A9"
    assert query.split("&") == [
        "shared",
        "public",
        "format=json",
        "limit=7",
        "marker=m%3F%23",
        "prefix=p%26%3D/",
        "delimiter=/",
        "until=12",
        "meta=%21a%3Db%2Cc",
    ]


def test_missing_optional_fields_are_tolerated(pithos: Callable[..., Any]) -> None:
    client, _ = pithos(say(200, [{"name": "a", "bytes": "12"}]))
    assert client.list_page("c").entries == [Entry("a", 12, "application/octet-stream", "", "", 0, 0)]


# -- single objects -----------------------------------------------------------------------------------


def test_head(real: Callable[..., Any]) -> None:
    info = real("put/meta-head", "head", "w-put", "meta")
    assert info.meta == {
        "tilde": "ab",
        "\N{GREEK SMALL LETTER ALPHA}": "alpha-key",
        "mixed-case-name": "Value With  Spaces",
        "uni": "αβ",
        "pct": "100%",
        "foo": "bar",
    }
    assert info.disposition == "attachment; filename=zz"
    assert (info.entry.size, info.entry.version) == (1, 100)
    assert info.entry.modified_ns == 1795336502 * 10**9
    info = real("share/bob-head", "head", "w-share", "f")
    assert (info.entry.allowed_to, info.entry.sharing) == ("read", f"read={BOB}")
    assert real("put/dir-marker-head", "head", "w-put", "adir").entry.content_type == DIRECTORY_TYPE
    zero = real("put/zero-head", "head", "w-put", "zero").entry
    assert (zero.size, zero.hash) == (0, blocks.ZERO_HASH)
    assert "public/M3xQE1ZOKu3yCW8dP74wU3" in real("public/head-again", "head", "w-share", "f").entry.public
    with pytest.raises(errors.NotFound):
        real("get/missing-head", "head", "w-get", "nope")


def test_hashmaps(real: Callable[..., Any]) -> None:
    info, content = real("put/three-blocks-and-a-bit-hashmap", "hashmap", "w-put", "big")
    assert (content.size, len(content.hashes)) == (info.entry.size, 4)
    assert content.merkle == info.entry.hash == info.etag
    info, content = real("put/zero-hashmap", "hashmap", "w-put", "zero")
    assert content == blocks.Hashmap(0, ())
    assert (info.entry.size, info.entry.content_type) == (0, "application/octet-stream")
    info, content = real("put/only-zeros-hashmap", "hashmap", "w-put", "z")
    assert content == blocks.Hashmap(777, (blocks.ZERO_HASH,))


def test_versions(real: Callable[..., Any]) -> None:
    assert real("version/list-after-recreate", "versions", "w-ver", "f") == [
        Version(246, 1795336523823679000),
        Version(247, 1795336525025382000),
        Version(248, 1795336526268565000),
        Version(249, 1795336526352211000),
        Version(252, 1795336526880024000),
    ]
    with pytest.raises(errors.NotFound, match="Object does not exist"):
        real("version/list-missing-object", "versions", "w-ver", "none")


def test_reading_ranges(real: Callable[..., Any]) -> None:
    assert bytes(real("get/range-middle", "read", "w-get", "f", 100, 200)) == bytes(range(100, 200))
    with pytest.raises(errors.BadRange, match="exceeds object limits"):
        real("get/range-end-beyond-size", "read", "w-get", "f", 1000, 2001)


def serve_range(data: bytes) -> Step:
    def step(exchange: Exchange) -> None:
        first, last = map(int, exchange.headers["range"].removeprefix("bytes=").split("-"))
        exchange.answer(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    return step


def test_a_version_is_read_as_it_was(pithos: Callable[..., Any]) -> None:
    client, server = pithos(serve_range(b"0123456789"))
    assert client.read("c", "n", 2, 5, version=7) == b"234"
    assert server.requests[0].target == "/v1/me/c/n?version=7"
    assert client.read("c", "n", 3, 3) == b""
    assert len(server.requests) == 1
    for start, stop in ((5, 2), (-1, 3)):
        with pytest.raises(errors.BadRequest):
            client.read("c", "n", start, stop)
    with client.open_range("c", "n", 0, 10) as body:
        buffer = bytearray(7)
        assert [body.readinto(memoryview(buffer)) for _ in range(3)] == [7, 3, 0]
        assert buffer[:3] == b"789"


@pytest.mark.parametrize(
    "answer",
    [
        say(200, b"0123456789"),
        say(200, b"234"),
        say(206, b"234"),
        say(206, b"234", Content_Range="bytes 0-2/10"),
        say(206, b"234", Content_Range="bytes 2-9/10"),
        say(206, b"234", Content_Range="2-4/10"),
        say(206, b"2345", Content_Range="bytes 2-4/10"),
        say(206, b"23", Content_Range="bytes 2-4/10"),
        say(206, b"x", Content_Type="multipart/byteranges; boundary=x"),
        say(204),
    ],
)
def test_other_bytes_than_asked_for_are_never_passed_on(pithos: Callable[..., Any], answer: Step) -> None:
    client, _ = pithos(answer)
    with pytest.raises(errors.ProtocolError):
        client.read("c", "n", 2, 5)
    with pytest.raises(errors.ProtocolError), client.open_range("c", "n", 2, 5):
        pytest.fail("a body was handed out")
    client, _ = pithos(answer, serve_range(b"0123456789"), retries=1)
    assert client.read("c", "n", 2, 5) == b"234"


def test_the_whole_object_is_as_good_as_a_range_of_all_of_it(pithos: Callable[..., Any]) -> None:
    client, _ = pithos(say(200, b"0123456789"))
    assert client.read("c", "n", 0, 10) == b"0123456789"


# -- writing ----------------------------------------------------------------------------------------------


def test_put_object(real: Callable[..., Any]) -> None:
    request = RECORDED["put/simple"]["request"]
    written = real(
        "put/simple",
        "put_object",
        "w-put",
        "f",
        base64.b64decode(request["body_b64"]),
        content_type="text/plain",
    )
    headers = dict(RECORDED["put/simple"]["response"]["headers"])
    assert written == Written(int(headers["X-Object-Version"]), headers["ETag"])


def hashmap_in(name: str) -> blocks.Hashmap:
    document = json.loads(base64.b64decode(RECORDED[name]["request"]["body_b64"]))
    return blocks.Hashmap(document["bytes"], tuple(document["hashes"]))


def test_the_hashmap_of_a_large_file_has_longer_to_be_answered(serve: Serve, connect: Connect) -> None:
    """The store may have to read all of it first."""

    def late(exchange: Exchange) -> None:
        exchange.stop.wait(1.5)
        exchange.answer(201, headers={"X-Object-Version": "7"})

    server = serve(late)
    client = Client(connect(timeout=1.0, retries=0), server.url, ALICE)
    block = blocks.block_hash(b"x")
    small, large = (blocks.Hashmap(count * blocks.BLOCK_SIZE, (block,) * count) for count in (2, 300))
    assert client.put_hashmap("c", "n", large, content_type="a/b").version == 7
    assert len(server.requests) == 1
    with pytest.raises(errors.TimedOut):
        client.put_hashmap("c", "n", small, content_type="a/b")


def test_put_hashmap(real: Callable[..., Any]) -> None:
    put = ("put_hashmap", "w-hm", "f")
    content = hashmap_in("hashmap/put-complete")
    assert real("hashmap/put-complete", *put, content, content_type=wire.DATA) == Written(171, content.merkle)
    with pytest.raises(errors.MissingBlocks) as caught:
        real("hashmap/put-all-missing", *put, content, content_type=wire.DATA)
    assert caught.value.hashes == content.hashes
    with pytest.raises(errors.MissingBlocks) as caught:
        real("hashmap/put-some-missing", *put, content, content_type=wire.DATA)
    assert caught.value.hashes == (content.hashes[0], content.hashes[2])


def test_conditions(real: Callable[..., Any]) -> None:
    request = RECORDED["pre/put-if-match-stale"]["request"]
    body, headers = base64.b64decode(request["body_b64"]), dict(request["headers"])
    name, kind = request["path"].rpartition("/")[2], headers["Content-Type"]
    with pytest.raises(errors.Stale, match="does not match"):
        real(
            "pre/put-if-match-stale",
            "put_object",
            "w-pre",
            name,
            body,
            content_type=kind,
            if_match=headers["If-Match"],
        )
    request = RECORDED["pre/put-if-none-match-star-new"]["request"]
    body, name = base64.b64decode(request["body_b64"]), request["path"].rpartition("/")[2]
    real(
        "pre/put-if-none-match-star-new",
        "put_object",
        "w-pre",
        name,
        body,
        content_type=kind,
        if_none_match="*",
    )


def test_quota(real: Callable[..., Any]) -> None:
    for name, text in (
        ("quota/put-600-more", "Container quota exceeded: limit: 1000, usage: 1200"),
        ("quota/account-put-over", "Limit for resource 'Storage space' exceeded"),
    ):
        request = RECORDED[name]["request"]
        _, container, obj = request["path"].removeprefix(PREFIX + "/").split("/")
        with pytest.raises(errors.QuotaExceeded, match=text):
            real(
                name,
                "put_object",
                container,
                obj,
                base64.b64decode(request["body_b64"]),
                content_type=wire.DATA,
            )


def test_which_blocks_are_missing(pithos: Callable[..., Any]) -> None:
    known, unknown, other = (blocks.block_hash(each) for each in (b"a", b"b", b"c"))
    answer = [unknown.upper(), blocks.IMPOSSIBLE_HASH, other]
    client, server = pithos(say(409, answer))
    assert client.missing_blocks("c", "n", [known, unknown, known, unknown]) == [unknown]
    assert json.loads(server.requests[0].body) == {
        "bytes": 5 * blocks.BLOCK_SIZE,
        "hashes": [known, unknown, known, unknown, blocks.IMPOSSIBLE_HASH],
    }
    client, _ = pithos(say(201, b"", X_Object_Version="5"))
    with pytest.raises(errors.ProtocolError):
        client.missing_blocks("c", "n", [known])


def test_a_409_that_is_not_about_blocks(pithos: Callable[..., Any]) -> None:
    content = blocks.hashmap_of(b"abc")
    client, _ = pithos(lambda each: each.fault(409, "conflict", "Something else"))
    with pytest.raises(errors.Conflict, match="Something else") as caught:
        client.put_hashmap("c", "n", content, content_type="a/b")
    assert not isinstance(caught.value, errors.MissingBlocks)
    client, _ = pithos(say(409, ["ab" * 32]))
    with pytest.raises(errors.ProtocolError, match="not asked for"):
        client.put_hashmap("c", "n", content, content_type="a/b")


def test_post_block(real: Callable[..., Any], pithos: Callable[..., Any]) -> None:
    assert real("block/post-abc", "post_block", "w-blocks", b"abc") == blocks.block_hash(b"abc")
    client, _ = pithos(replay("block/post-empty"))
    with pytest.raises(errors.ProtocolError, match="another hash"):
        client.post_block("c", b"")


def store_block(exchange: Exchange) -> None:
    """As the store does: nothing for an empty body, else the hash."""
    assert exchange.headers["content-type"] == "application/octet-stream"
    assert exchange.target.startswith("/v1/me/c?update")
    exchange.answer(202, json.dumps([blocks.block_hash(exchange.body)]) if exchange.body else b"")


@pytest.mark.parametrize("data", [b"abc", b"abc\0\0\0", b"\0", bytes(5000), b"", b"\0abc"])
def test_zeros_at_the_end_of_a_block_do_not_travel(pithos: Callable[..., Any], data: bytes) -> None:
    client, server = pithos(store_block)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert client.post_block("c", buffer) == blocks.block_hash(data)
        assert server.requests[-1].body == (data.rstrip(b"\0") or b"\0")
    assert client.post_block("c", data, expected=blocks.block_hash(data)) == blocks.block_hash(data)


@pytest.mark.parametrize("answer", [["ab" * 32], [], ["ab" * 32, "cd" * 32], {}, [5], ["xyz"]])
def test_a_block_stored_under_another_hash_is_an_error(pithos: Callable[..., Any], answer: Any) -> None:
    client, _ = pithos(say(202, answer))
    with pytest.raises(errors.ProtocolError):
        client.post_block("c", b"abc")


def test_post_blocks(pithos: Callable[..., Any]) -> None:
    """One body, of which only the end may lack its zeros; what the store says of it is handed on."""
    client, server = pithos(store_block)
    parts = [b"abc\0", memoryview(b"def\0"), bytearray(b"gh\0\0")]
    assert client.post_blocks("c", parts) == [blocks.block_hash(b"abc\0def\0gh")]
    assert server.requests[-1].body == b"abc\0def\0gh"
    assert server.requests[-1].headers["content-length"] == "10"
    assert client.post_blocks("c", [b"abc", bytes(4)]) == [blocks.block_hash(b"abc")]
    assert server.requests[-1].body == b"abc\0"
    assert client.post_blocks("c", []) == []
    assert len(server.requests) == 2


def test_headers_of_a_put(pithos: Callable[..., Any]) -> None:
    client, server = pithos(say(201, b"", X_Object_Version="5", ETag='"ABC"'))
    client.put_object(
        "c",
        "n",
        memoryview(b"data"),
        content_type="text/plain; mtime=1795334389.539240123; mode=0644",
        meta={"Mtime": "1", "key with ü": " 100% ü\n "},
        if_match="aa" * 32,
    )
    sent = server.requests[0].headers
    assert sent["content-type"] == "text/plain; mtime=1795334389.539240123; mode=0644"
    assert sent["if-match"] == f'"{"aa" * 32}"'
    assert sent["x-object-meta-mtime"] == "1"
    assert sent["x-object-meta-key%20with%20%c3%bc"] == "%20100%25 %C3%BC%0A%20"
    for bad in ("text/plain\r\nX-Evil: 1", "text/ü", "a\0"):
        with pytest.raises(errors.BadRequest):
            client.put_object("c", "n", b"", content_type=bad)


@given(text=st.text(max_size=40))
def test_header_values_survive_one_decoding(text: str) -> None:
    try:
        value = wire.header_value(text)
    except errors.BadRequest:
        assert any("\ud800" <= each <= "\udfff" for each in text)
        return
    assert value.isascii()
    assert value.isprintable()
    assert value == value.strip()
    assert unquote(value) == text


def test_a_condition_broken_by_the_own_lost_success_is_a_success(pithos: Callable[..., Any]) -> None:
    """The first sending was carried out, its answer lost; the repetition finds the new version."""
    content, kind = blocks.hashmap_of(b"abc"), "text/plain; mtime=1"

    def entry(exchange: Exchange) -> None:
        headers = {
            "X-Object-Hash": content.merkle,
            "X-Object-Version": "9",
            "ETag": "e",
            "Content-Type": kind,
        }
        exchange.answer(200, b"abc", headers)

    stale: Step = lambda each: each.fault(412, "preconditionFailed", "Resource exists")  # noqa: E731
    calls: list[Callable[[Client, str], Written]] = [
        lambda client, kind: client.put_hashmap("c", "n", content, content_type=kind, if_none_match="*"),
        lambda client, kind: client.put_object("c", "n", b"abc", content_type=kind, if_match="ff"),
    ]
    for call in calls:
        client, _ = pithos(hang_up, stale, entry, retries=1)
        assert call(client, kind) == Written(9, "e")
        client, _ = pithos(hang_up, stale, entry, retries=1)
        with pytest.raises(errors.Stale):
            call(client, "text/plain; mtime=2")  # somebody else's, though of the same content
        client, server = pithos(stale, entry, retries=1)
        with pytest.raises(errors.Stale):
            call(client, kind)
        assert len(server.requests) == 1


# -- moving, copying, deleting -------------------------------------------------------------------------


def test_move(real: Callable[..., Any]) -> None:
    assert real("move/move", "move", "w-cm", "m2", "w-cm", "m2-moved") == 285
    change = {"content_type": "x/y", "meta": {"C": "3", "B": ""}}
    assert real("move/with-meta-and-type", "move", "w-cm", "m4", "w-cm", "m4b", **change) == 295
    assert real("recursive/move", "move", "w-cm", "t", "w-cm", "moved", recursive=True) == 326
    with pytest.raises(errors.NotFound):
        real("move/missing", "move", "w-cm", "none", "w-cm", "x")


def test_copy(real: Callable[..., Any]) -> None:
    assert real("copy/put-from", "copy", "w-cm", "src", "w-cm", "p1") == Written(261, "")
    assert (
        real("copy/put-from-source-version", "copy", "w-cm", "srcv", "w-cm", "cv2", version=277).version
        == 280
    )
    assert (
        real(
            "share/bob-copy-to-own", "copy", "w-share", "f", "w-hm-bob", "copied", from_account=ALICE
        ).version
        == 390
    )
    request = RECORDED["copy/put-from-if-none-match-star-exists"]["request"]
    source = dict(request["headers"])["X-Copy-From"].split("/")
    with pytest.raises(errors.Stale):
        target = request["path"].split("/")[-2:]
        real("copy/put-from-if-none-match-star-exists", "copy", *source[1:], *target, if_none_match="*")


CONTENT = blocks.Hashmap(3 * blocks.BLOCK_SIZE, ("aa" * 32, "bb" * 32, "cc" * 32))
MD5 = "5d41402abc4b2a76b9719d911017c592"


def is_there(**headers: str) -> Step:
    """The answer to HEAD of a copy, with these headers different."""
    found = {
        "Content-Length": str(CONTENT.size),
        "X-Object-Hash": CONTENT.merkle,
        "X-Object-Version": "9",
        "X-Object-Meta-Mtime": "1.5",
        "ETag": MD5,
        "Content-Type": "a/b; mtime=1.5",
    }
    changed = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda each: each.answer(200, b"", found | changed)


def made(version: str) -> Step:
    """201, as a copy or a hashmap is answered."""
    return lambda each: each.answer(201, b"", {"X-Object-Version": version})


def put_copy(client: Client) -> Written:
    return client.put_copy(
        "c",
        "new é",
        CONTENT,
        source=("c2", "old %", 7),
        etag=MD5,
        content_type="a/b; mtime=1.5",
        meta={"Mtime": "1.5"},
    )


def test_a_copy_in_place_of_a_hashmap(pithos: Callable[..., Any]) -> None:
    client, server = pithos(made("9"), is_there())
    assert put_copy(client) == Written(9, MD5)
    copy, look = server.requests
    assert (copy.method, copy.body) == ("PUT", b"")
    assert copy.target.endswith("/c/new%20%C3%A9")
    assert copy.headers["x-copy-from"] == "/c2/old%20%25"
    assert (copy.headers["x-source-version"], copy.headers["if-none-match"]) == ("7", "*")
    assert (copy.headers["content-type"], copy.headers["x-object-meta-mtime"]) == ("a/b; mtime=1.5", "1.5")
    assert (look.method, look.target.partition("?")[2]) == ("HEAD", "version=9")


@pytest.mark.parametrize(
    "wrong",
    [
        {"ETag": "0" * 32},  # the MD5 of what replaced the source meanwhile
        {"ETag": ""},
        {"X_Object_Hash": "dd" * 32},
        {"Content_Length": "5"},
        {"Content_Type": "a/b"},
        {"X_Object_Meta_Colour": "blue"},
        {"Content_Encoding": "gzip"},
        {"Content_Disposition": "attachment"},
    ],
    ids=str,
)
def test_a_copy_that_is_not_as_wanted_is_put_anew(pithos: Callable[..., Any], wrong: dict[str, str]) -> None:
    client, server = pithos(made("9"), is_there(**wrong), made("10"))
    assert put_copy(client) == Written(10, "", damaged=(9,))
    again = server.requests[2]
    assert (again.method, again.target.partition("?")[2]) == ("PUT", "hashmap&format=json")
    assert json.loads(again.body) == {"bytes": CONTENT.size, "hashes": list(CONTENT.hashes)}
    assert wrong.get("ETag", MD5) in again.headers["if-match"]  # over this one version only


def test_a_copy_whose_answer_was_lost_is_found(pithos: Callable[..., Any]) -> None:
    stale: Step = lambda each: each.fault(412, "preconditionFailed", "Resource exists")  # noqa: E731
    client, _ = pithos(hang_up, stale, is_there(), is_there(), retries=1)
    assert put_copy(client) == Written(9, MD5)
    client, _ = pithos(hang_up, stale, is_there(X_Object_Hash="dd" * 32), retries=1)
    with pytest.raises(errors.Stale):
        put_copy(client)
    client, server = pithos(stale)
    with pytest.raises(errors.Stale):
        put_copy(client)
    assert len(server.requests) == 1


def test_a_copy_was_made_though_it_cannot_be_looked_at(pithos: Callable[..., Any]) -> None:
    for answers in ([fault_of(503)], [is_there(ETag="0" * 32), fault_of(400)]):
        client, _ = pithos(made("9"), *answers, retries=0)
        with pytest.raises(errors.StoreError) as caught:
            put_copy(client)
        assert caught.value.maybe_done


def fault_of(status: int) -> Step:
    """An answer that something is wrong."""
    return lambda each: each.fault(status, "badRequest", "Something is wrong")


def test_delete(real: Callable[..., Any]) -> None:
    name = RECORDED["delete/object"]["request"]["path"].split("/")[-2:]
    real("delete/object", "delete", *name)
    with pytest.raises(errors.NotFound):
        real("delete/missing", "delete", *RECORDED["delete/missing"]["request"]["path"].split("/")[-2:])
    tree = RECORDED["recursive/delete"]["request"]["path"].split("/")[-2:]
    real("recursive/delete", "delete", *tree, recursive=True)
    real("until/object-delete-until", "purge", "w-until", "a", 1795336499)


def test_update(real: Callable[..., Any], pithos: Callable[..., Any]) -> None:
    real("public/publish", "update", "w-share", "f", public=True)
    real("share/read", "update", "w-share", "f", sharing=f"read={BOB}")
    client, server = pithos(say(202))
    client.update("c", "n")
    assert not server.requests
    client.update("c", "n", meta={"a": "1", "b": ""}, sharing="", public=False)
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v1/me/c/n?update")
    assert (sent.headers["x-object-meta-a"], sent.headers["x-object-meta-b"]) == ("1", "")
    assert (sent.headers["x-object-sharing"], sent.headers["x-object-public"]) == ("", "false")
    assert "content-type" not in sent.headers


def test_a_delete_that_finds_its_work_done(pithos: Callable[..., Any]) -> None:
    gone: Step = lambda each: each.fault(404, "itemNotFound", "Object is deleted.")  # noqa: E731
    client, _ = pithos(hang_up, gone, retries=1)
    client.delete("c", "n")
    client, _ = pithos(gone, retries=1)
    with pytest.raises(errors.NotFound):
        client.delete("c", "n")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.move("c", "a", "c", "b"),
        lambda client: client.move("c", "a", "c", "b", recursive=True),
        lambda client: client.copy("c", "a", "c", "b"),
        lambda client: client.delete("c", "a", recursive=True),
        lambda client: client.delete_container("c", contents=True),
        lambda client: client.purge("c", "a", 1),
    ],
)
def test_what_is_sent_once(pithos: Callable[..., Any], call: Callable[[Client], object]) -> None:
    client, server = pithos(hang_up, retries=4)
    with pytest.raises(errors.Unavailable) as caught:
        call(client)
    assert caught.value.maybe_done
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "etag_of", [lambda each: blocks.block_hash(each), lambda each: hashlib.md5(each).hexdigest()]
)
def test_an_object_damaged_on_its_way_is_written_again(
    pithos: Callable[..., Any], caplog: pytest.LogCaptureFixture, etag_of: Callable[[bytes], str]
) -> None:
    """The server says what it got; only that very version may be replaced."""

    def store(body: bytes, version: int) -> Step:
        return lambda each: each.answer(201, b"", {"ETag": etag_of(body), "X-Object-Version": str(version)})

    client, server = pithos(store(b"dbta", 7), store(b"data", 8))
    assert client.put_object("c", "n", b"data", content_type="a/b", if_none_match="*").version == 8
    assert server.requests[1].headers["if-match"] == f'"{etag_of(b"dbta")}"'
    assert "if-none-match" not in server.requests[1].headers
    assert "damaged" in caplog.text
    client, server = pithos(store(b"dbta", 7))
    with pytest.raises(errors.ProtocolError, match="other bytes than are sent"):
        client.put_object("c", "n", b"data", content_type="a/b")
    assert len(server.requests) == 3


def test_a_block_damaged_on_its_way_is_sent_again(pithos: Callable[..., Any]) -> None:
    client, server = pithos(say(202, [blocks.block_hash(b"abd")]), store_block)
    assert client.post_block("c", b"abc") == blocks.block_hash(b"abc")
    assert len(server.requests) == 2


def test_a_hashmap_damaged_on_its_way_is_an_error(pithos: Callable[..., Any]) -> None:
    client, _ = pithos(say(201, b"", X_Object_Version="5", ETag="ab" * 32))
    with pytest.raises(errors.ProtocolError, match="another hashmap"):
        client.put_hashmap("c", "n", blocks.hashmap_of(b"abc"), content_type="a/b")


STATUSES: dict[int, type[errors.StoreError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    412: errors.Stale,
    413: errors.QuotaExceeded,
    416: errors.BadRange,
    422: errors.BadRequest,
    500: errors.Unavailable,
    502: errors.Unavailable,
    503: errors.Unavailable,
}


@pytest.mark.parametrize("status", STATUSES)
def test_any_status_at_any_call(serve: Serve, connect: Connect, status: int) -> None:
    server = serve(lambda each: each.fault(status, "fault", "The store's words"))
    for call in METHODS.values():
        with pytest.raises(STATUSES[status]) as caught:
            call(Client(connect(retries=0), server.url + "/v1", "me"))
        if server.requests[-1].method != "HEAD":  # which has no body
            assert "The store's words" in str(caught.value)


@pytest.mark.parametrize("version", ["%28%5B282%5D, 11L, 11L%29", "282", "", "junk"])
def test_the_version_a_move_tells(pithos: Callable[..., Any], version: str) -> None:
    client, _ = pithos(say(201, b"", X_Object_Version=version))
    assert client.move("c", "a", "c", "b") == (282 if "282" in version else None)


def test_names_in_paths_and_headers(pithos: Callable[..., Any]) -> None:
    client, server = pithos(say(201, b"", X_Object_Version="1"))
    client.move("a b", "x//../é%41?#/", "ü", "/%2F\r")
    assert server.requests[0].target == "/v1/me/a%20b/x//../%C3%A9%2541%3F%23/"
    assert server.requests[0].headers["destination"] == "/%C3%BC//%252F%0D"


@pytest.mark.parametrize(
    ("container", "name", "kind"),
    [
        ("c", "", errors.BadRequest),
        ("", "n", errors.BadRequest),
        ("a/b", "n", errors.BadRequest),
        ("c", "a\n", errors.BadRequest),
        ("c", "a\nb", errors.BadRequest),
        ("c", "a\0b", errors.BadRequest),
        ("c", "\ud800", errors.BadRequest),
        ("c", "n" * 1025, errors.NameTooLong),
        ("c", "é" * 1024, errors.NameTooLong),
        ("c", "😀" * 340, errors.NameTooLong),
        ("c" * 257, "n", errors.NameTooLong),
    ],
)
def test_names_that_are_refused_before_anything_is_sent(
    pithos: Callable[..., Any], container: str, name: str, kind: type[errors.StoreError]
) -> None:
    client, server = pithos(say(204))
    calls: list[Callable[[], object]] = [
        lambda: client.head(container, name),
        lambda: client.delete(container, name),
        lambda: client.delete(container, name, recursive=True),
        lambda: client.purge(container, name, 1),
        lambda: client.put_object(container, name, b"", content_type="a/b"),
        lambda: client.move(container, name, "c", "b"),
        lambda: client.move("c", "b", container, name),
        lambda: client.copy("c", "b", container, name),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
        str(caught.value).encode()
    assert not server.requests


@pytest.mark.parametrize("until", [0, -1, -1767225600, 1.5, 1e9, "", "12", None, True])
@pytest.mark.parametrize("name", ["n", None])
def test_history_without_an_end_the_store_would_understand_is_not_destroyed(
    pithos: Callable[..., Any], name: str | None, until: Any
) -> None:
    """It ignores such an ``until``: what remains is the DELETE of the object, or of the container."""
    client, server = pithos(say(204))
    with pytest.raises(errors.InvalidArgument):
        client.purge("c", name, until)
    assert not server.requests


@pytest.mark.parametrize(
    ("until", "kind"),
    [
        (0, errors.NotFound),
        (-1, errors.NotFound),
        (1.5, errors.InvalidArgument),
        ("", errors.InvalidArgument),
        (True, errors.InvalidArgument),
    ],
)
def test_the_present_is_not_taken_for_a_past_the_store_does_not_understand(
    pithos: Callable[..., Any], until: Any, kind: type[Exception]
) -> None:
    client, server = pithos(say(200, b"[]"))
    calls: list[Callable[[], object]] = [
        lambda: client.account(until),
        lambda: client.container("c", until),
        lambda: client.containers(until=until),
        lambda: client.list_page("c", until=until),
        lambda: list(client.list_all("c", until=until)),
        lambda: client.first("c", "n", until=until),
        lambda: client.entry("c", "n", until=until),
    ]
    for call in calls:
        with pytest.raises(kind):
            call()
    assert not server.requests


# -- servers that hash blocks in another way ---------------------------------------------------------------


def other_hash(exchange: Exchange) -> None:
    """A server with a setting of its own, which HEAD of a container tells."""
    listed = exchange.method == "GET"
    exchange.answer(200, b'[{"name": "c"}]' if listed else b"", {"X-Container-Block-Hash": "SHA1"})


@pytest.mark.parametrize("source", ["c", "c/dir", "/"])
def test_what_hashes_blocks_in_another_way_is_not_mounted(pithos: Callable[..., Any], source: str) -> None:
    client, _ = pithos(other_hash)
    refusal = "^the server hashes blocks by 'SHA1', pithosfs knows sha256 only: use kamaki with it$"
    with pytest.raises(errors.ProtocolError, match=refusal):
        find_source(client, source, MountOptions(create=True))


def test_an_account_has_the_blocks_of_its_containers(pithos: Callable[..., Any]) -> None:
    listed = say(200, [{"name": "c"}, {"name": "d"}])
    client, server = pithos(say(204), listed, say(204, X_Container_Block_Size="1048576"))
    assert find_source(client, "/", MountOptions()).block_size == 1048576
    assert [each.method for each in server.requests] == ["HEAD", "GET", "HEAD"]
    for answers in ([say(403)], [say(200, [])], [listed, say(403)], [listed, say(404)]):
        client, _ = pithos(say(204), *answers)
        assert find_source(client, "/", MountOptions()).block_size == blocks.BLOCK_SIZE


# -- answers that are none --------------------------------------------------------------------------------

METHODS: dict[str, Callable[[Client], object]] = {
    "account": lambda client: client.account(),
    "containers": lambda client: client.containers(),
    "sharing_accounts": lambda client: client.sharing_accounts(),
    "container": lambda client: client.container("c"),
    "list_page": lambda client: client.list_page("c"),
    "list_all": lambda client: list(client.list_all("c")),
    "head": lambda client: client.head("c", "n"),
    "hashmap": lambda client: client.hashmap("c", "n"),
    "versions": lambda client: client.versions("c", "n"),
    "put_object": lambda client: client.put_object("c", "n", b"", content_type="a/b"),
    "put_hashmap": lambda client: client.put_hashmap("c", "n", blocks.Hashmap(0, ()), content_type="a/b"),
    "missing_blocks": lambda client: client.missing_blocks("c", "n", ["ab" * 32]),
    "post_block": lambda client: client.post_block("c", b"abc"),
    "post_blocks": lambda client: client.post_blocks("c", [b"abc", b"def"]),
    "copy": lambda client: client.copy("c", "a", "c", "b"),
    "put_copy": put_copy,
}


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"account", "container", "head"}))
def test_html_in_place_of_an_answer(pithos: Callable[..., Any], method: str) -> None:
    """A hotel's network asks to log in."""
    client, _ = pithos(say(200, b"<html>Please log in</html>"))
    with pytest.raises(errors.ProtocolError):
        METHODS[method](client)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "bytes", "hashes", "versions", "subdir", "block_size", "block_hash", "x_object_hash"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    document=values,
    status=st.sampled_from([200, 409]),
    headers=st.dictionaries(
        st.sampled_from(
            ["Content-Range", "X-Object-Version", "X-Object-Hash", "Date", "X-Container-Block-Size"]
        ),
        st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=6),
        max_size=3,
    ),
)
def test_answers_of_any_shape_raise_nothing_else(
    odd: list[Step], client: Client, document: Any, status: int, headers: dict[str, str]
) -> None:
    odd[:] = [say(status, document, **headers)]
    for call in METHODS.values():
        try:
            call(client)
        except errors.StoreError as error:
            assert len(str(error).splitlines()) == 1


@pytest.fixture
def odd() -> list[Step]:
    """What the server of ``client`` answers; may be changed any time."""
    return []


@pytest.fixture
def client(odd: list[Step], serve: Serve, connect: Connect) -> Iterator[Client]:
    server = serve(lambda each: odd[0](each))
    yield Client(connect(retries=0), server.url + "/v1", "me")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1795333707.724022", 1795333707724022000),
        ("1795333707", 1795333707000000000),
        ("1795333707.7240221234567", 1795333707724022123),
        (1795333707.5, 1795333707500000000),
        (1795333707, 1795333707000000000),
        ("2026-11-22T07:48:27.724022+00:00", 1795333707724022000),
        ("2026-11-22T07:48:27Z", 1795333707000000000),
        ("2026-11-22T09:48:27+02:00", 1795333707000000000),
        ("2026-11-22T07:48:27", 1795333707000000000),
        ("Sun, 22 Nov 2026 07:48:27 GMT", 1795333707000000000),
        ("yesterday", None),
        ("", None),
        (None, None),
        ([], None),
        (float("nan"), None),
    ],
)
def test_times(text: object, expected: int | None) -> None:
    assert wire.time_ns(text) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"hashes": None},
        {"hashes": ["ab" * 32] * 2},
        {"hashes": ["ab" * 31]},
        {"hashes": [7]},
        {"hashes": ["zz" * 32]},
        {"bytes": -1},
        {"bytes": "x"},
        {"bytes": True},
        {"bytes": 1.5},
        {"block_size": 0},
        {"block_hash": "none-such"},
        {"block_hash": "sha1", "hashes": ["ab" * 20]},
        {"block_hash": None},
    ],
)
def test_hashmaps_that_are_none(pithos: Callable[..., Any], change: dict[str, Any]) -> None:
    good = {"block_hash": "sha256", "hashes": ["AB" * 32], "block_size": 4194304, "bytes": 5}
    client, _ = pithos(say(200, good))
    assert client.hashmap("c", "n")[1].hashes == ("ab" * 32,)
    client, _ = pithos(say(200, good | change))
    with pytest.raises(errors.ProtocolError):
        client.hashmap("c", "n")
