"""Names that programs give a file for as long as they write it, and then rename.  No I/O.

Only names that hardly anything else has: who closes such a file may have it
sent by the rename that follows (``sending``).
"""

from __future__ import annotations

import re

#: mkstemp's letters and digits, but for what could be an extension (.config, .sha256): one in a hundred.
_RANDOM = "(?![a-z]*[0-9]*$)[A-Za-z0-9]{6}"
_TEMPORARY = re.compile(
    rf"\..+\.{_RANDOM}"  # rsync, and others who write .NAME.XXXXXX beside NAME
    rf"|\.goutputstream-{_RANDOM}"  # GLib: gedit and most of GNOME and Xfce
    rf"|sed{_RANDOM}"  # sed -i
    rf"|Cu{_RANDOM}"  # coreutils: ln -sf
    rf"|tmp_obj_{_RANDOM}"  # git's loose objects
)


def is_temporary(component: str) -> bool:
    """Whether a file of this name is about to get another one."""
    return _TEMPORARY.fullmatch(component) is not None
