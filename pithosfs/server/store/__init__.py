"""What the server keeps: users, containers, objects, versions, blocks.

:class:`Store` puts the parts together; each part is a module of its own:

============== ==========================================================
``database``   one SQLite file: schema, transactions, serial numbers
``blockfiles`` one file per block, named by its hash
``accounts``   users, tokens, quotas, groups, account metadata
``containers`` containers, their policies, metadata and totals
``blockset``   which blocks there are, and which are safe on the disk
``objects``    objects: read, write, copy, move, delete, purge
``copying``    copies and moves, object by object
``changes``    what several of these do inside a transaction
``versions``   rows of objects and versions, shared by the above
``listing``    names by prefix, delimiter, marker and time
``shown``      what of a listing a user gets to see
``sharing``    who may read or write what; public names
``values``     what the parts hand to each other
``check``      whether all of it is consistent
============== ==========================================================
"""

from __future__ import annotations

import time
from pathlib import Path

from pithosfs.server.store.accounts import Accounts
from pithosfs.server.store.blockfiles import BlockFiles
from pithosfs.server.store.blockset import Blocks
from pithosfs.server.store.containers import Containers
from pithosfs.server.store.database import Clock, Database
from pithosfs.server.store.objects import Objects
from pithosfs.server.store.sharing import Sharing

__all__ = ["Store"]


def system_clock() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


class Store:
    """A Pithos store in ``directory``; made if it is not there.

    Every method of every part is one transaction: it is done when the method
    returns (fsynced, unless ``durable`` is false) and not at all if it raises.
    Parts may be used from any number of threads.
    """

    def __init__(self, directory: Path, *, durable: bool = True, clock: Clock = system_clock) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.clock = clock
        self.database = Database(directory / "pithos.db", clock, durable=durable)
        self.files = BlockFiles(directory / "blocks", durable=durable)
        self.blocks = Blocks(self.database, self.files)
        self.accounts = Accounts(self.database)
        self.containers = Containers(self.database)
        self.sharing = Sharing(self.database)
        self.objects = Objects(self.database, self.blocks)

    def close(self) -> None:
        """Make everything durable and let go of the files."""
        self.blocks.settle_all()
        self.database.close()
