"""``pithosfs cache``: the blocks kept on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pithosfs.cli import arguments, output
from pithosfs.cli.exits import ExitCode
from pithosfs.disk import DiskCache
from pithosfs.options import parse_size, typed

_DESCRIPTION = """\
Show, shrink or verify the disk caches of this user's mounts, one for each account.

Safe while mounts use them: a block that is gone is fetched again.

Example:
  pithosfs cache show
  pithosfs cache prune --to 1G
  pithosfs cache verify
"""


def add(commands: arguments.Subparsers) -> None:
    """Add the command's parsers."""
    parser = arguments.add_command(
        commands, "cache", show, "show, shrink or verify the disk cache", _DESCRIPTION
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    each = arguments.add_command(actions, "show", show, "what is kept", "Show how much is kept.")
    arguments.add_cache_directory(each, "where the caches are")
    each = arguments.add_command(
        actions,
        "prune",
        prune,
        "remove blocks not used for long",
        "Remove blocks, those not used for longest first.",
    )
    each.add_argument(
        "--to",
        metavar="SIZE",
        type=typed(parse_size),
        default=0,
        help="what each cache may keep (default: nothing)",
    )
    arguments.add_cache_directory(each, "where the caches are")
    each = arguments.add_command(
        actions, "verify", verify, "check every block", "Read every block, remove those that are damaged."
    )
    arguments.add_cache_directory(each, "where the caches are")


def _caches(directory: Path) -> Iterator[tuple[str, DiskCache]]:
    """Each account's cache, by the name of its directory, scanned."""
    for blocks in sorted(directory.glob("*/blocks")):
        cache = DiskCache(blocks, limit=1 << 62)
        cache.scan()
        yield blocks.parent.name, cache


def show(args: argparse.Namespace) -> int:
    """A line for each cache."""
    rows = [(name, str(cache.count), output.size(cache.total)) for name, cache in _caches(args.cache_dir)]
    if rows:
        output.show(("ACCOUNT", "BLOCKS", "SIZE"), rows, right=("BLOCKS", "SIZE"))
    else:
        output.say(f"nothing is cached in {args.cache_dir}")
    return ExitCode.OK


def prune(args: argparse.Namespace) -> int:
    """Shrink each cache."""
    freed = 0
    for _, cache in _caches(args.cache_dir):
        before = cache.total
        cache.limit = args.to
        cache.scan()
        freed += before - cache.total
    output.say(f"{output.size(freed)} freed")
    return ExitCode.OK


def verify(args: argparse.Namespace) -> int:
    """Read every block of each cache; reading removes what is damaged."""
    bad = checked = 0
    for _, cache in _caches(args.cache_dir):
        for block in cache.hashes():
            checked += cache.get(block) is not None  # a mount may have made room meanwhile
        bad += cache.damaged
    checked += bad
    output.say(f"{output.count(checked, 'block')} checked, {bad} damaged" + (" and removed" if bad else ""))
    return ExitCode.FAILED if bad else ExitCode.OK
