"""Blocks of objects over the network: each once, verified, in as few requests as fit.

A request costs the server far more than a byte, so neighbouring blocks come
as one long range that is cut into blocks as it arrives, each handed on as
soon as it is complete.  A block is verified against its hash.  A *piece* of a
block cannot be; on a connection without TLS it is therefore fetched twice,
and when the two differ the whole block is fetched and verified.

Waiting happens in the caller's thread (see ``waiting``), transfers in a pool.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from pithosfs import blocks
from pithosfs.api import Client, Info
from pithosfs.blocks import Buffer, Hashmap
from pithosfs.cache import BlockCache
from pithosfs.errors import CorruptBlock, PithosError, ProtocolError, Stale, TimedOut, Unavailable
from pithosfs.hashing import WORTH_A_THREAD, Hasher
from pithosfs.names import ObjectRef
from pithosfs.ranges import Address, LongRange, Origin
from pithosfs.transport import StreamedBody
from pithosfs.waiting import ENDING, if_cancelled, wait

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Pieces of blocks are cut at multiples of this many bytes.
PIECE = 32 * 1024
#: Requests ahead of the readers under way at once, and those that may wait for their turn.
_AHEAD_THREADS, _AHEAD_LIMIT = 8, 80
#: Threads that see to it that blocks are verified while the next ones are received.
_CHECK_THREADS = 2
_ATTEMPTS = 3
_FULL_RATE_SAMPLE = 1024 * 1024
#: Bytes after which it is seen that a transfer goes on.
_PROGRESS = 512 * 1024


class Network:
    """What transfers have shown so far: seconds to the first byte, bytes a second after it."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.rate = 0.0

    def saw_latency(self, seconds: float) -> None:
        """A request's first byte came after so long."""
        self.latency = seconds if not self.latency else self.latency * 0.8 + seconds * 0.2

    def saw_transfer(self, size: int, seconds: float) -> None:
        """A body of ``size`` bytes took so long from its first byte to its last."""
        if size >= _FULL_RATE_SAMPLE and seconds > 0:
            rate = size / seconds
            self.rate = rate if not self.rate else self.rate * 0.7 + rate * 0.3


class Fetcher:
    """Reads blocks through the cache; ``client_of`` gives the client for an object's account."""

    def __init__(
        self,
        client_of: Callable[[ObjectRef], Client],
        cache: BlockCache,
        *,
        threads: int = 12,
        timeout: float = 60.0,
        protected: bool = False,
        hasher: Hasher | None = None,
    ) -> None:
        self.cache = cache
        self._hasher = hasher or Hasher()
        self.network = Network()
        self._client_of = client_of
        self._timeout = timeout
        self._protected = protected
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._ahead_pool = ThreadPoolExecutor(_AHEAD_THREADS, thread_name_prefix="ahead")
        self._check_pool = ThreadPoolExecutor(_CHECK_THREADS, thread_name_prefix="verify")
        self._ahead_now = 0
        self._long: set[LongRange] = set()  # those that may take more along
        self._moved = 0.0  # when bytes of a block came last, monotonic
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop; blocks not yet begun are given up."""
        for pool in (self._pool, self._ahead_pool, self._check_pool):
            pool.shutdown(wait=False, cancel_futures=True)

    # -- what an object consists of ---------------------------------------------------------

    def hashmap(self, origin: Origin) -> tuple[Info, Hashmap]:
        """One object's headers and hashmap."""
        ref, version = origin
        ask = self._client_of(ref).hashmap
        return self._wait(self._submit(lambda: ask(ref.container, ref.name, version or None)))

    def begin(self, origin: Origin, start: int, stop: int) -> LongRange | None:
        """Have whole blocks, bytes ``start`` to ``stop``, under way already while it is asked what they are.

        They are taken when they are wanted by their hashes; given up after a moment without that, or by the
        range's ``last_call``.  None where as much is under way as may be.
        """
        with self._lock:
            if self._ahead_now >= _AHEAD_THREADS:
                return None
            self._ahead_now += 1
        wanted = LongRange(origin, start, stop)
        self._request(wanted, ahead=True)
        return wanted

    def info(self, origin: Origin) -> Info:
        """One object's headers."""
        ref, version = origin
        ask = self._client_of(ref).head
        return self._wait(self._submit(lambda: ask(ref.container, ref.name, version or None)))

    def _submit(self, work: Callable[[], Result]) -> Future[Result]:
        try:
            return self._pool.submit(work)
        except RuntimeError as error:
            raise Unavailable(ENDING) from error

    def _wait(self, future: Future[Result], began: float | None = None) -> Result:
        """What comes of a request, waited for since ``began`` as long as blocks keep moving.

        It shares the network with them, and may have to wait until one of their threads is free.
        """
        since = time.monotonic() if began is None else began
        while True:
            try:
                return wait(future, max(0.0, self._deadline(since) - time.monotonic()))
            except TimedOut:
                if future.done() or time.monotonic() >= self._deadline(since):
                    raise

    def _deadline(self, began: float) -> float:
        return max(began, self._moved) + self._timeout

    def _fill(self, body: StreamedBody, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            got = body.readinto(view[filled : filled + _PROGRESS])
            if not got:
                raise ProtocolError(f"the answer ended after {filled} of {len(view)} bytes")
            filled += got
            self._moved = time.monotonic()

    # -- whole blocks --------------------------------------------------------------------

    def block(self, address: Address) -> Buffer:
        """The block's bytes; may be shorter than ``length``, then zeros are missing.

        Raises what the store raised, or CorruptBlock.
        """
        if address.hash == blocks.ZERO_HASH:
            return b""
        began = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            arriving = self.cache.arriving(address.hash)
            found = None if arriving else self.cache.get(address.hash) or self.cache.peek(_odd_key(address))
            if found is not None:
                return found
            if arriving is None:
                arriving = self._start([address]) or self.cache.arriving(address.hash)
                if arriving is None:
                    continue  # it arrived in between
            try:
                return self._wait(arriving, began)
            except (ProtocolError, Unavailable):
                # A long range that broke or stalled in the middle says nothing about this block alone.
                late = time.monotonic() > self._deadline(began) - self._timeout / 3
                if attempt == _ATTEMPTS or late or not arriving.done():
                    raise
        raise CorruptBlock(f"block {address.index} of {address.origin.ref} does not stay in the cache")

    def has(self, address: Address) -> bool:
        """Whether the block is in memory or on its way."""
        return (
            address.hash == blocks.ZERO_HASH
            or self.cache.peek(address.hash) is not None
            or self.cache.arriving(address.hash) is not None
        )

    def prefetch(self, addresses: Iterable[Address], stop: int = 0) -> None:
        """Begin to fetch what is neither cached nor on its way; never waits, never raises.

        Neighbours become one request.  The last one may ask for all up to the
        object's byte ``stop``, for a reader that is soon going to want that, too.
        Gives up silently where too much is under way.
        """
        run: list[Address] = []
        for address in addresses:
            if run and not run[-1].goes_on_with(address):
                self._start_ahead(run)
                run = []
            if self.has(address) or self.on_disk(address):
                self._start_ahead(run)
                run = []
            else:
                run.append(address)
        self._start_ahead(run, stop)

    def on_disk(self, address: Address) -> bool:
        """Whether the block is in the disk cache, as far as is known without looking."""
        return self.cache.disk is not None and address.hash in self.cache.disk

    def _start_ahead(self, run: Sequence[Address], stop: int = 0) -> None:
        with self._lock:
            if not run or self._ahead_now >= _AHEAD_LIMIT:
                return
            self._ahead_now += 1
            others_wait = self._ahead_now > _AHEAD_THREADS
            under_way = list(self._long) if others_wait else []
        for each in under_way:
            each.last_call()
        self._start(run, ahead=True, stop=0 if others_wait else stop)

    def _start(self, run: Sequence[Address], *, ahead: bool = False, stop: int = 0) -> Future[Buffer] | None:
        """Claim and fetch a run of neighbours; returns the future of the first block.

        None if that one is somebody else's; the run ends before the first such block.
        """
        first: Future[Buffer] | None = None
        mine: list[Address] = []
        for address in run:
            future, owner = self.cache.claim(address.hash)
            if not owner:
                break
            first = first or future
            mine.append(address)
        mine = self._left_by_others(mine)
        if mine:
            self._request(LongRange.of(mine, stop), ahead=ahead)
        else:
            self._ended(ahead)
        return first

    def _left_by_others(self, run: list[Address]) -> list[Address]:
        """What of the run no request brings that is under way."""
        with self._lock:
            under_way = list(self._long) if run else []
        for each in under_way:
            taken = each.takes(run)
            if taken:
                return run[taken:]
        return run

    def _request(self, wanted: LongRange, *, ahead: bool) -> None:
        try:
            pool = self._ahead_pool if ahead else self._pool
            with self._lock:
                self._long.add(wanted)
            if_cancelled(pool.submit(self._fetch_range, wanted, ahead), lambda: self._give_up(wanted, ahead))
        except RuntimeError:
            self._give_up(wanted, ahead)

    def _give_up(self, wanted: LongRange, ahead: bool) -> None:
        self._failed(wanted, Unavailable(ENDING))
        self._ended(ahead, wanted)

    def _failed(self, wanted: LongRange, error: BaseException) -> None:
        """What is still wanted of it does not come."""
        for address in wanted.end():
            self.cache.failed(address.hash, error)

    def _ended(self, ahead: bool, wanted: LongRange | None = None) -> None:
        """A request is over, or was none, for others bring what was ``wanted``."""
        with self._lock:
            self._ahead_now -= ahead
            if wanted is not None:
                self._long.discard(wanted)

    def _fetch_range(self, wanted: LongRange, ahead: bool) -> None:
        try:
            self._take(wanted)
        except BaseException as error:
            self._failed(wanted, error)
            if not isinstance(error, PithosError):
                log.exception("fetching %s failed", wanted.origin.ref)
        finally:
            self._ended(ahead, wanted)

    def _take(self, wanted: LongRange) -> None:
        """One request, and what is wanted of its answer as it comes."""
        began = time.monotonic()
        with _open(self._client_of, wanted.origin, wanted.start, wanted.stop) as body:
            self.network.saw_latency(time.monotonic() - began)
            while (address := wanted.next()) is not None:
                try:
                    self._check(address, self._receive(body, address))
                except BaseException as error:
                    self.cache.failed(address.hash, error)
                    raise

    def _receive(self, body: StreamedBody, address: Address) -> Buffer:
        at = time.monotonic()
        data = self.cache.new_buffer(address.length)
        self._fill(body, data)
        self.network.saw_transfer(address.length, time.monotonic() - at)
        return data

    def _check(self, address: Address, data: Buffer) -> None:
        """Have a block that has come verified and handed on; the next one comes meanwhile."""
        if address.length < WORTH_A_THREAD:
            self._hand_on(address, data)
            return
        try:
            checked = self._check_pool.submit(self._hand_on, address, data)
        except RuntimeError as error:
            raise Unavailable(ENDING) from error
        if_cancelled(checked, lambda: self.cache.failed(address.hash, Unavailable(ENDING)))

    def _hand_on(self, address: Address, data: Buffer) -> None:
        """Give a block that has come to all who wait for it, once it is verified."""
        try:
            verified = self._verified(address, data)
        except BaseException as error:
            self.cache.failed(address.hash, error)
            if not isinstance(error, PithosError):
                log.exception("verifying a block of %s failed", address.origin.ref)
        else:
            self.cache.arrived(address.hash, verified)

    def _verified(self, address: Address, data: Buffer) -> Buffer:
        """Check a block against its hash, fetch it again if it is not what it should be.

        One case is no corruption: an object cut short inside its last block
        keeps the longer block's hash.  Of such a block, which is never full,
        two reads that agree are served, and kept under the object's version,
        never under the hash.
        """
        if self._hasher.hash(data) == address.hash:
            self.cache.put(address.hash, data)
            return data
        for _ in range(_ATTEMPTS - 1):
            log.warning("block %d of %s does not match its hash: again", address.index, address.origin.ref)
            again = self.cache.new_buffer(address.length)
            with _open(
                self._client_of, address.origin, address.start, address.start + address.length
            ) as body:
                self._fill(body, again)
            if blocks.block_hash(again) == address.hash:
                self.cache.put(address.hash, again)
                return again
            if again == data and address.origin.version and address.length < address.block_size:
                self.cache.put(_odd_key(address), again, on_disk=False)
                raise _Odd(f"block {address.index} of {address.origin.ref} is not what its hash says")
            data = again
        if not address.origin.version:
            raise Stale(f"{address.origin.ref} was replaced while it was read", 412)
        raise CorruptBlock(f"block {address.index} of {address.origin.ref} arrives damaged each time")

    # -- pieces of blocks --------------------------------------------------------------------

    def piece(self, address: Address, start: int, stop: int) -> Buffer:
        """Bytes ``start`` to ``stop`` of a block, without the rest where that is not in memory."""
        if self.cache.arriving(address.hash) is None:
            found = self.cache.piece(address.hash, start, stop)
            if found is not None:
                return found
            first = start - start % PIECE
            last = min(address.length, -(-stop // PIECE) * PIECE)
            if last - first < address.length:
                return blocks.cut(self._pieces(address, first, last), start - first, stop - first)
        return blocks.cut(self.block(address), start, stop)

    def _pieces(self, address: Address, start: int, stop: int) -> Buffer:
        key = f"{address.hash}@{start}+{stop - start}"
        found = self.cache.peek(key)
        if found is not None:
            return found
        reads = [
            self._submit(partial(self._read, address, start, stop))
            for _ in range(1 if self._protected else 2)
        ]
        first, *others = [self._wait(each) for each in reads]
        if any(bytes(each) != bytes(first) for each in others):
            log.warning("two reads of block %d of %s differ", address.index, address.origin.ref)
            return blocks.cut(self.block(address), start, stop)
        self.cache.put(key, first, on_disk=False)
        return first

    def _read(self, address: Address, start: int, stop: int) -> Buffer:
        data = bytearray(stop - start)
        began = time.monotonic()
        with _open(self._client_of, address.origin, address.start + start, address.start + stop) as body:
            self.network.saw_latency(time.monotonic() - began)
            self._fill(body, memoryview(data))
        return data


class _Odd(ProtocolError):
    """A block was cut short by others, and is kept under its version.

    Who waits for its hash asks again: those of this version find it, others fetch what the hash says.
    """


def _odd_key(address: Address) -> str:
    return f"{address.origin.ref}?{address.origin.version}#{address.index}"


def _open(
    client_of: Callable[[ObjectRef], Client], origin: Origin, start: int, stop: int
) -> AbstractContextManager[StreamedBody]:
    ref, version = origin
    client = client_of(ref)
    return client.open_range(ref.container, ref.name, start, stop, version=version or None)
