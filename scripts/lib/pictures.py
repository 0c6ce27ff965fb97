"""Pictures of real runs: programs on a terminal of their own, what it shows as SVG."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI, TerminalTheme
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.support.netproxy import NetProxy  # noqa: E402 - a network to order

DOCS = REPOSITORY / "docs"
PITHOSFS = (sys.executable, "-m", "pithosfs")
COLUMNS = 120
#: Bits a second of the network under the picture of uploads: a good line at home.
UPLINK = 60_000_000
_FONT = "DejaVu Sans Mono, Menlo, Consolas, monospace"


def main() -> int:
    """Draw what is asked for, all by default."""
    pictures: dict[str, Callable[[], None]] = {"demo": demo, "status": status}
    parser = argparse.ArgumentParser(prog="scripts/pictures", description=__doc__)
    parser.add_argument("picture", nargs="*", choices=[*pictures, []], help=", ".join(pictures))
    for name in parser.parse_args().picture or pictures:
        pictures[name]()
    return 0


# -- what is shown ------------------------------------------------------------------------


def demo() -> None:
    """The story of ``pithosfs demo``, in two halves."""
    with Terminal([*PITHOSFS, "demo"], lines=200) as terminal:
        terminal.wait_for("takes away what they kept", 300)
        lines = terminal.lines()
        terminal.type("\n")
    middle = _first(lines, "The tree is deleted")
    end = _first(lines, "It stays mounted")
    for name, part in (("demo", lines[:middle]), ("demo-past", lines[middle:end])):
        shown = [_told(line, r"/\S*/pithosfs-demo\.\w+", "~/demo") for line in part]
        draw(DOCS / f"{name}.svg", "pithosfs demo", shown)


def _first(lines: Sequence[Text], beginning: str) -> int:
    return next(index for index, line in enumerate(lines) if line.plain.startswith(beginning))


def status() -> None:
    """``pithosfs status --watch`` while files go up a line as people have at home."""
    with tempfile.TemporaryDirectory(prefix="pithosfs-pictures.") as name, world(Path(name)) as place:
        copies: list[subprocess.Popen[bytes]] = []
        for file, size in (("videos/summer.mp4", 180), ("backup/laptop.img", 320), ("photos.zip", 90)):
            source = place / f"source{size}"
            source.write_bytes(os.urandom(size << 20))
            target = place / "cloud" / file
            target.parent.mkdir(exist_ok=True)
            copies.append(subprocess.Popen(["cp", source, target], stderr=subprocess.DEVNULL))
        with Terminal([*PITHOSFS, "status", "cloud", "--watch"], lines=24, folder=place) as terminal:
            terminal.read(14)
            lines = terminal.lines()
            terminal.type("\x03")
        for each in copies:
            each.kill()
    shown = [_told(line, re.escape(str(place)), "/home/ada") for line in lines]
    draw(
        DOCS / "status.svg",
        "while three files are copied",
        [Text("$ pithosfs status ~/cloud --watch"), *shown],
    )


def _told(line: Text, place: str, name: str) -> Text:
    """A line with ``name`` for what matches ``place``, and without the place of this repository."""
    plain = re.sub(place, name, line.plain).replace(str(REPOSITORY), "~/src")
    if plain == line.plain:
        return line
    text = Text(plain)
    if match := re.match(r"[a-z ]{1,12}  (?=\S)", plain):  # a table's heading
        text.stylize("bold", 0, match.end())
    return text


@contextlib.contextmanager
def world(place: Path) -> Iterator[Path]:
    """A server, a network and a mount of it on ``place``/cloud; all gone at the end."""
    # the token is in the server's file, the address it is reached at in ours
    with contextlib.ExitStack() as cleanup:
        server = subprocess.Popen(
            [*PITHOSFS, "serve", str(place / "store"), "--port", "0", "--no-fsync"],
            stdout=subprocess.PIPE,
            text=True,
        )
        cleanup.callback(_end, server)
        said = server.stdout.readline() if server.stdout else ""
        address = re.search(r"127\.0\.0\.1:\d+", said)
        if address is None:
            raise SystemExit(f"the server did not start: {said}")
        proxy = cleanup.enter_context(NetProxy(address[0]))
        proxy.shape(rtt=0.02, rate=UPLINK)
        config = place / "kamakirc"
        config.touch(mode=0o600)
        settings = (place / "store" / "kamakirc").read_text()
        config.write_text(settings.replace(address[0], proxy.url.rpartition("/")[2]))
        os.environ.update(KAMAKI_CONFIG=str(config), XDG_RUNTIME_DIR=str(place))
        (place / "cloud").mkdir()
        subprocess.run(
            [*PITHOSFS, "mount", "pithos", place / "cloud", "--cache-dir", place / "cache"], check=True
        )
        try:
            yield place
        finally:
            subprocess.run([*PITHOSFS, "umount", "--force", place / "cloud"], check=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(30)


# -- a terminal -----------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: Sequence[str], lines: int, folder: Path = REPOSITORY) -> None:
        self._screen = pyte.Screen(COLUMNS, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.environ["TERM"] = "xterm-256color"
            os.execv(command[0], list(command))  # noqa: S606 - a terminal runs programs
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", lines, COLUMNS, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.read(60, until=lambda: False)
        os.close(self._file)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what is shown for so long, or until something is; OSError at the program's end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            if select.select([self._file], [], [], 0.2)[0]:
                self._stream.feed(os.read(self._file, 65536))

    def wait_for(self, text: str, seconds: float) -> None:
        """Until ``text`` is shown."""
        self.read(seconds, lambda: any(text in line for line in self._screen.display))
        if not any(text in line for line in self._screen.display):
            raise SystemExit(f"'{text}' did not come")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._file, keys.encode())

    def lines(self) -> list[Text]:
        """What is on the screen, with bold letters."""
        shown = []
        for number in range(self._screen.lines):
            cells = [self._screen.buffer[number][column] for column in range(COLUMNS)]
            line = Text()
            for bold, part in itertools.groupby(cells, lambda each: each.bold):
                line.append("".join(each.data for each in part), Style(bold=bold))
            line.rstrip()
            shown.append(line)
        return shown


def draw(path: Path, title: str, lines: Sequence[Text]) -> None:
    """Lines of a terminal as a picture; commands that were typed stand out."""
    shown = list(lines)
    while shown and not shown[-1].plain.strip():
        shown.pop()
    while shown and not shown[0].plain.strip():
        shown.pop(0)
    width = max(len(line) for line in shown)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
    for line in shown:
        if line.plain.startswith("$ "):
            line.stylize("bold green", 0, 2)
            line.stylize("bold", 2)
        elif re.match(r"[A-Z].*[:.]$", line.plain):
            line.stylize("bold cyan")
        console.print(line, soft_wrap=True)
    theme: TerminalTheme = MONOKAI
    svg = console.export_svg(title=title, theme=theme, unique_id=path.stem)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing from elsewhere
    path.write_text(svg.replace("Fira Code, monospace", _FONT).replace("Fira Code", _FONT))
    print(f"wrote {path.relative_to(REPOSITORY)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
