"""``python -m pithosfs`` and ``pithosfs``: the same.

Next to nothing is imported before Ctrl-C is seen to.
"""

import sys


def main() -> int:
    """Run the command line; the exit code is 130 after Ctrl-C, also while modules are still loaded."""
    try:
        from pithosfs.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("pithosfs: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
