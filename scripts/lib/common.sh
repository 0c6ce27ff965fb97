# shellcheck shell=bash
# What the scripts share: source it first. It goes to the top of the tree.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
VENV=$PWD/.venv

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

as_root() {
    if is_root; then "$@"; else sudo -n "$@"; fi
}

# need COMMAND=PACKAGE…: installs the packages of those commands that are missing.
need() {
    local pair packages=()
    for pair; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || packages+=("${pair#*=}")
    done
    [ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
}

apt_install() {
    if ! command -v apt-get >/dev/null || ! { is_root || sudo -n true 2>/dev/null; }; then
        die "missing; install first: sudo apt-get install -y $*"
    fi
    say "installing $*"
    # a package list that is old or empty is no reason to stop: fetch it and try again
    apt_get install -y --no-install-recommends "$@" 2>/dev/null ||
        { apt_get update && apt_get install -y --no-install-recommends "$@"; } ||
        die "apt-get could not install: $*"
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >/dev/null; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Prints the first Python of at least 3.11; $PYTHON goes first.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed; install it, or name it: PYTHON=/path/to/python3.12 $0"
}

# use_venv EXTRAS: .venv with pithosfs (editable) and its EXTRAS ("test", "test,check", or ""), first on PATH.
use_venv() {
    local wanted
    wanted=$(printf '%s\n' "$1" "$PWD" | cat - pyproject.toml | cksum)
    is_new_enough "$VENV/bin/python" || make_venv
    if [ "$(cat "$VENV/.installed-$1" 2>/dev/null)" != "$wanted" ]; then
        say "installing pithosfs${1:+ with [$1]} into .venv"
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${1:+[$1]}" >&2 ||
            die "pip could not install; see above"
        printf '%s\n' "$wanted" >"$VENV/.installed-$1"
    fi
    PATH=$VENV/bin:$PATH
}

make_venv() {
    local python
    python=$(find_python)
    say "making .venv with $python"
    # Debian keeps what venv needs in a package of its own
    "$python" -c 'import ensurepip' 2>/dev/null ||
        apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    "$python" -m venv --clear "$VENV" || die "$python -m venv failed; see above"
}
