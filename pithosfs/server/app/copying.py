"""COPY, MOVE, and PUT with X-Copy-From or X-Move-From."""

from __future__ import annotations

from dataclasses import replace

from pithosfs.server.app import conditions
from pithosfs.server.app.context import Context, answer
from pithosfs.server.app.http import ApiError, Response
from pithosfs.server.app.objects import serial_of
from pithosfs.server.app.paths import split_path
from pithosfs.server.app.preparing import attributes_of, checked_guard, content_length
from pithosfs.server.store.values import Guard, Moved, Target, no_guard


def copy(context: Context, target: Target) -> Response:
    """COPY to the Destination."""
    return _to(context, target, move=False)


def move(context: Context, target: Target) -> Response:
    """MOVE to the Destination."""
    return _to(context, target, move=True)


def onto(context: Context, target: Target, header: str, guard: Guard, *, move: bool) -> Response:
    """PUT with ``header`` naming the source."""
    request = context.request
    content_length(request)
    container, name = split_path(request.header(header.lower()), f"Invalid {header} header")
    account = request.header("x-source-account") or context.user
    source = Target(account, container, name)
    serial = None if move else _serial(context)
    return _copy(context, source, target, serial=serial, move=move, guard=guard)


def _to(context: Context, source: Target, *, move: bool) -> Response:
    request = context.request
    path = request.header("destination")
    if not path:
        raise ApiError(400, "Missing Destination header")
    container, name = split_path(path, "Invalid Destination header")
    target = Target(request.header("destination-account") or context.user, container, name)
    guard = checked_guard(context, source, must_exist=conditions.has_tags(request))
    serial = None if move else _serial(context)
    return _copy(context, source, target, serial=serial, move=move, guard_source=guard)


def _copy(
    context: Context,
    source: Target,
    target: Target,
    *,
    serial: int | None,
    move: bool,
    guard: Guard = no_guard,
    guard_source: Guard = no_guard,
) -> Response:
    request = context.request
    attributes = attributes_of(request)
    if "ignore_content_type" in request.parameters:
        attributes = replace(attributes, type=None)
    done = context.store.objects.copy(
        context.user,
        source,
        target,
        attributes,
        serial=serial,
        delimiter=request.parameters.get("delimiter", ""),
        move=move,
        guard=guard,
        guard_source=guard_source,
    )
    version = _moved_text(done) if move else str(done.serials[0])
    return answer(request, 201, b"", [("X-Object-Version", version)])


def _moved_text(done: Moved) -> str:
    """What the real server sends as the version of a move: a Python 2 tuple."""
    serials = ", ".join(str(serial) for serial in done.serials)
    return f"([{serials}], {done.growth}L, {done.removed}{'L' if done.marked else ''})"


def _serial(context: Context) -> int | None:
    return serial_of(context.request.header("x-source-version"))
