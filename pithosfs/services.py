"""What every open file works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from pithosfs import blocks
from pithosfs.fetch import Fetcher
from pithosfs.late import Late
from pithosfs.metastore import MetaStore
from pithosfs.staging import Staging
from pithosfs.upload import Uploader


@dataclass(frozen=True, slots=True)
class Services:
    """The parts all files of a mount share.

    ``block_size`` is the containers', in bytes; ``window_limit`` how many
    blocks at most are fetched before they are asked for; ``late`` what may still
    arrive, ``removed`` what was removed here: versions that nobody else replaces.
    """

    fetcher: Fetcher
    uploader: Uploader
    staging: Staging
    store: MetaStore
    block_size: int = blocks.BLOCK_SIZE
    window_limit: int = 32
    late: Late = field(default_factory=Late)
    removed: Late = field(default_factory=Late)
