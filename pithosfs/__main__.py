"""``python -m pithosfs`` is the same as ``pithosfs``."""

import sys

from pithosfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
