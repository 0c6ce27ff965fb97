"""``mount.pithosfs``: what mount(8) and /etc/fstab call for the type ``pithosfs``.

``mount -t pithosfs SOURCE DIR -o WORDS`` runs ``mount.pithosfs SOURCE DIR -o WORDS``;
with a link to it in /usr/sbin, a line in /etc/fstab mounts at boot.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pithosfs import cli
from pithosfs.cli import exits, output
from pithosfs.cli.exits import ExitCode
from pithosfs.options import escape

_DESCRIPTION = """\
Called by mount(8) for the type pithosfs: at boot for a line of /etc/fstab, or by
mount -t pithosfs.  It must be found as /usr/sbin/mount.pithosfs.

What /etc/fstab has for others (_netdev, nofail, x-systemd.…) is passed over.  Exit
codes are those of mount(8).

Example:
  pithos  /srv/cloud  pithosfs  config=/root/.kamakirc,allow_other,_netdev,nofail  0 0
  mount -t pithosfs pithos /mnt -o config=/root/.kamakirc,cloud=okeanos
"""

#: What mount(8) says its own exit codes mean.
_USAGE, _SYSTEM, _INTERRUPTED, _FAILED = 1, 2, 8, 32
_CODES: dict[int, int] = {
    ExitCode.OK: 0,
    ExitCode.USAGE: _USAGE,
    ExitCode.SYSTEM: _SYSTEM,
    ExitCode.INTERRUPTED: _INTERRUPTED,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Mount as mount(8) asks for it; returns an exit code of mount(8)."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:
        return _USAGE if stop.code else 0
    if "remount" in ",".join(args.options).split(","):
        exits.complain(
            f"mount.pithosfs: options cannot be changed while mounted: first umount {args.mountpoint}"
        )
        return _USAGE
    # mount(8) starts helpers with nearly no environment; at boot there is no HOME either
    os.environ.setdefault("HOME", os.path.expanduser("~"))  # noqa: PTH111 (as a text)
    # mount -a finds what is mounted already by the source as it stands in /etc/fstab
    words = [f"fsname={escape(args.source)}", *args.options]
    words += [word for word, wanted in (("ro", args.read_only), ("rw", args.writable)) if wanted]
    command = ["mount", "-o", ",".join(words), "--", args.source, args.mountpoint]
    if args.fake:
        output.say(" ".join(["pithosfs", *command]))
        return 0
    return _CODES.get(cli.main(command), _FAILED)  # also of a process that was killed


def parser() -> argparse.ArgumentParser:
    """The helper's command line."""
    parser = argparse.ArgumentParser(
        prog="mount.pithosfs",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="CONTAINER[/DIR], or / for the whole account")
    parser.add_argument("mountpoint", metavar="DIR", help="where it is mounted")
    parser.add_argument(
        "-o",
        dest="options",
        metavar="WORDS",
        action="append",
        default=[],
        help="words with commas between: the long options of `pithosfs mount` without their dashes",
    )
    parser.add_argument("-f", dest="fake", action="store_true", help="only say what would be done")
    parser.add_argument("-r", dest="read_only", action="store_true", help="the same as -o ro")
    parser.add_argument("-w", dest="writable", action="store_true", help="the same as -o rw")
    # mount(8) may pass these; they change nothing here
    parser.add_argument("-t", dest="type", help=argparse.SUPPRESS)
    parser.add_argument("-N", dest="namespace", help=argparse.SUPPRESS)
    for flag in "nsv":
        parser.add_argument(f"-{flag}", dest=f"passed_{flag}", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
