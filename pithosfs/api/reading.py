"""Objects and their versions as the store has them: headers, hashmaps, histories, bytes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping

from pithosfs import wire
from pithosfs.api.calls import JSON, Calls
from pithosfs.blocks import Hashmap
from pithosfs.errors import BadRequest, ProtocolError
from pithosfs.transport import Request, StreamedBody
from pithosfs.wire import Info, Version


class Reading(Calls):
    """What an object is."""

    def head(self, container: str, name: str, version: int | None = None) -> Info:
        """What is known of an object, or of one of its versions."""
        answer = self._send("HEAD", container, name, query=[("version", version)])
        return wire.info_of(name, answer.headers)

    def hashmap(self, container: str, name: str, version: int | None = None) -> tuple[Info, Hashmap]:
        """An object's blocks, and what is known of it."""
        query = [("version", version), JSON]
        answer = self._send("GET", container, name, query=query, flags=["hashmap"])
        content = wire.hashmap_of(wire.json_of(answer.body, f"{container}/{name}"))
        return wire.info_of(name, answer.headers, content.size), content

    def versions(self, container: str, name: str) -> list[Version]:
        """The history of a name, oldest first; still there after a deletion."""
        answer = self._send("GET", container, name, query=[("version", "list"), JSON])
        return wire.versions_of(wire.json_of(answer.body, f"{container}/{name}"))

    def read(
        self, container: str, name: str, start: int, stop: int, version: int | None = None
    ) -> bytes | bytearray:
        """Bytes ``start`` to ``stop`` (exclusive) of an object; BadRange if it has not all of them."""
        if start == stop:
            return b""
        return self.transport.send(self._range(container, name, start, stop, version)).body

    @contextlib.contextmanager
    def open_range(
        self, container: str, name: str, start: int, stop: int, version: int | None = None
    ) -> Iterator[StreamedBody]:
        """Bytes ``start`` to ``stop`` as they arrive: ``readinto(memoryview) -> int``.

        For long ranges: one request for many blocks.  ``start < stop``.
        """
        with self.transport.stream(self._range(container, name, start, stop, version)) as body:
            yield body

    def _range(self, container: str, name: str, start: int, stop: int, version: int | None) -> Request:
        if not 0 <= start < stop:
            raise BadRequest(f"bytes {start} to {stop} are no range")
        return self._request(
            "GET",
            container,
            name,
            query=[("version", version)],
            headers={"Range": f"bytes={start}-{stop - 1}"},
            expected=stop - start,
            check=_range_checker(f"{container}/{name}", start, stop),
        )


def _range_checker(label: str, start: int, stop: int) -> Callable[[int, Mapping[str, str]], None]:
    """A check that an answer brings just the bytes asked for."""

    def check(status: int, headers: Mapping[str, str]) -> None:
        if status == 200 and start == 0 and headers.get("content-length") == str(stop):
            return  # the whole object, which is what was asked for
        if status != 206:
            raise ProtocolError(f"{label}: the server does not answer ranges")
        said = headers.get("content-range", "")
        if not re.fullmatch(rf"bytes\s+{start}-{stop - 1}/(\d+|\*)", said.strip(), re.IGNORECASE):
            raise ProtocolError(f"{label}: another range came than asked for ({said[:60]})")

    return check
