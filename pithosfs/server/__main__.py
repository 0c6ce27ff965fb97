"""``python -m pithosfs.server DIR``: the server without the rest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pithosfs.server.arguments import add_arguments, carry_out
from pithosfs.server.run import ServerProblem


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pithosfs.server",
        description="Serve a Pithos object store out of DIR: `pithosfs serve` without the rest of pithosfs.",
    )
    add_arguments(parser)
    try:
        return carry_out(parser.parse_args(arguments))
    except ServerProblem as error:
        print(f"pithosfs.server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
