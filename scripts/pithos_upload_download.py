#!/usr/bin/env python3
"""Upload to and download from Pithos+: examples on pithosfs's client library, one action each.

Cloud and token come from kamaki's configuration (~/.kamakirc or $KAMAKI_CONFIG); nothing has to be
written into this file.
"""

from __future__ import annotations

import argparse
import mimetypes
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also from a clone that is not installed

import rich.console
import rich.progress
import urllib3

from pithosfs import config, errors, transfer
from pithosfs.api import Client, connect
from pithosfs.blocks import Buffer
from pithosfs.cli.exits import ExitCode, code_of
from pithosfs.transport import Request, StreamedBody, Transport

EXAMPLES = """\
examples:
  %(prog)s -t uploadfile -f 26mb.zip -c pithos
  %(prog)s -t uploadurl -u https://example.org/data.tar.gz -c pithos
  %(prog)s -t download -f 26mb.zip -c pithos
  %(prog)s -t downloadSendBig -f 26mb.zip --to https://example.org/inbox/26mb.zip
  %(prog)s -t downloadSendBig -f backup.tar --to - | tar t

exit codes:
  0 done   1 failed   2 missing or wrong arguments, or no such local file   3 settings
  4 access refused   5 no such container or object   6 server out of reach   130 Ctrl-C
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one action; any failure is one line on stderr and an exit code."""
    parse = parser()
    given = parse.parse_args(arguments)
    try:
        check(given)
        settings = config.load(config=given.config, cloud=given.cloud)
        given.container = given.container or settings.container
        client = connect(settings)
        try:
            check_container(client, given.container)
            with Bars() as bars:
                done = ACTIONS[given.typeof](client, given, bars)
            print(done, file=sys.stderr)
        finally:
            client.transport.close()
    except Missing as error:
        return complain(parse.prog, str(error), ExitCode.USAGE)
    except errors.PithosError as error:
        return complain(parse.prog, str(error), code_of(error))
    except KeyboardInterrupt:
        return complain(parse.prog, "interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return complain(parse.prog, f"{where}{error.strerror or error}", ExitCode.FAILED)
    return ExitCode.OK


def parser() -> argparse.ArgumentParser:
    """The options; those of the well-known kamaki example, and a few more."""
    parse = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument(
        "-t",
        "--typeof",
        choices=sorted(ACTIONS),
        default="downloadBig",
        help="what to do (default: %(default)s)",
    )
    parse.add_argument("-u", "--url", help="the URL of the file to upload (uploadurl)")
    parse.add_argument(
        "-f",
        "--filename",
        help="the file to upload, or the object to download; with uploadurl the name it gets",
    )
    parse.add_argument(
        "-c", "--container", help="the container (default: the cloud's pithos_container, else pithos)"
    )
    parse.add_argument(
        "--to",
        metavar="FILE|-|http(s)://…|host:port",
        help="where downloadSendBig sends each chunk: a file, standard output, a URL (PUT), a TCP port",
    )
    parse.add_argument("--cloud", help="the cloud of kamaki's configuration, if not the default one")
    parse.add_argument("--config", type=Path, metavar="FILE", help="kamaki's configuration file")
    return parse


def check(given: argparse.Namespace) -> None:
    """Raise Missing for what the action needs and has not got."""
    if given.typeof == "uploadurl":
        if not given.url:
            raise Missing("uploadurl needs the URL of a file: -u URL")
    elif not given.filename:
        raise Missing(f"{given.typeof} needs the name of a file: -f NAME")
    local = given.typeof in ("upload", "uploadfile", "uploadBfile")
    if local and not Path(given.filename).is_file():
        raise Missing(f"there is no file {given.filename}")
    if given.typeof == "downloadSendBig" and not given.to:
        raise Missing("downloadSendBig needs to know whom to send to: --to FILE, -, URL or host:port")


class Missing(Exception):
    """An argument or a local file is missing."""


def complain(program: str, message: str, code: ExitCode) -> int:
    """One line on stderr; returns the exit code."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code


# -- uploads --------------------------------------------------------------------------


def uploadfile(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """Hash all blocks, PUT the hashmap, POST in parallel those the server lacks, PUT again."""
    path = Path(given.filename)
    done = transfer.upload(
        client, given.container, path.name, path, content_type=type_of(path.name), progress=bars.show
    )
    return report("uploaded", given.container, path.name, done)


def upload_big_file(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """The same in one pass: each block is read once, hashed, asked about and sent while the next is read."""
    path = Path(given.filename)
    with path.open("rb", buffering=0) as file:
        done = transfer.upload_stream(
            client,
            given.container,
            path.name,
            file,
            content_type=type_of(path.name),
            size=path.stat().st_size,
            progress=bars.show,
        )
    return report("uploaded", given.container, path.name, done)


def uploadurl(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """From a web server straight into blocks; nothing touches the disk."""
    web = Transport(None)
    try:
        with web.stream(Request("GET", given.url, label=given.url)) as body:
            name = given.filename or name_of(given.url, body)
            done = transfer.upload_stream(
                client,
                given.container,
                name,
                body,
                content_type=body.headers.get("content-type") or type_of(name),
                size=body.length,
                progress=bars.show,
            )
    finally:
        web.close()
    return report("uploaded", given.container, name, done)


def name_of(url: str, body: StreamedBody) -> str:
    """The file's name as the web server gives it, else as its URL ends."""
    disposition = body.headers.get("content-disposition", "")
    extended = re.search(r"filename\*=(?:UTF-8|utf-8)''([^;\s]+)", disposition)
    plain = re.search(r'filename="([^"]+)"|filename=([^;\s]+)', disposition)
    said = unquote(extended[1]) if extended else (plain[1] or plain[2]) if plain else ""
    name = PurePosixPath(said or unquote(urlsplit(url).path)).name
    if not name:
        raise Missing("neither the URL nor the server tells a name: give one with -f NAME")
    return name


def type_of(name: str) -> str:
    """The content type a name suggests."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


# -- downloads ------------------------------------------------------------------------


def download(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """All blocks in parallel into a file, sparse where zero; a second run goes on where the first stopped."""
    target = Path(PurePosixPath(given.filename).name)
    done = transfer.download(client, given.container, given.filename, target, progress=bars.show)
    return report("downloaded", given.container, given.filename, done)


def download_big(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """One chunk after the other, each verified, in constant memory, into a file."""
    target = PurePosixPath(given.filename).name
    return send_chunks(client, given, bars, to_file(target))


def download_send_big(client: Client, given: argparse.Namespace, bars: Bars) -> str:
    """As downloadBig, each chunk handed to a third party while the next ones are fetched."""
    return send_chunks(client, given, bars, sink_for(given.to))


def send_chunks(client: Client, given: argparse.Namespace, bars: Bars, sink: Sink) -> str:
    """Hand the object's chunks to ``sink`` in order."""
    size = client.head(given.container, given.filename).entry.size
    sink(transfer.chunks(client, given.container, given.filename, progress=bars.show), size)
    return f"downloaded {given.container}/{given.filename}: {size} bytes"


#: Takes all chunks of an object, and its size.
Sink = Callable[[Iterable[Buffer], int], None]


def sink_for(to: str) -> Sink:
    """What ``--to`` names."""
    if to == "-":
        return to_standard_output
    if re.match(r"https?://", to):
        return to_url(to)
    if match := re.fullmatch(r"\[?([^\[\]/\s]+?)\]?:(\d{1,5})", to):
        return to_port(match[1], int(match[2]))
    return to_file(to)


def to_file(name: str) -> Sink:
    """Write a file; it gets its name when it is complete."""

    def sink(chunks: Iterable[Buffer], _size: int) -> None:
        part = Path(name + ".part")
        with part.open("wb") as file:
            for each in chunks:
                file.write(each)
            file.flush()
            os.fsync(file.fileno())
        part.replace(name)

    return sink


def to_standard_output(chunks: Iterable[Buffer], _size: int) -> None:
    """Write to standard output, whatever is behind it."""
    for each in chunks:
        sys.stdout.buffer.write(each)
    sys.stdout.buffer.flush()


def to_port(host: str, port: int) -> Sink:
    """Send to a TCP port, as ``nc`` would."""

    def sink(chunks: Iterable[Buffer], _size: int) -> None:
        with socket.create_connection((host, port), timeout=60) as connection:
            for each in chunks:
                connection.sendall(each)
            connection.shutdown(socket.SHUT_WR)

    return sink


def to_url(url: str) -> Sink:
    """PUT to a web server, whose certificate is verified."""

    def sink(chunks: Iterable[Buffer], size: int) -> None:
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        try:
            with urllib3.PoolManager(retries=False, timeout=60) as pool:
                answer = pool.request("PUT", url, body=(bytes(each) for each in chunks), headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise errors.Unavailable(f"{url}: {error}") from error
        if answer.status >= 300:
            raise errors.Unavailable(f"{url} answered {answer.status} {answer.reason}")

    return sink


# -- what they share --------------------------------------------------------------------


def check_container(client: Client, name: str) -> None:
    """Raise NotFound, with a clear word, if there is no such container."""
    try:
        client.container(name)
    except errors.NotFound:
        raise errors.NotFound(f"there is no container {name}", 404) from None


def report(verb: str, container: str, name: str, done: transfer.Transferred) -> str:
    """One line on what was done."""
    return f"{verb} {container}/{name}: {done.size} bytes, {done.moved} of them travelled, hash {done.hash}"


class Bars:
    """A progress bar for each step, on stderr; none where that is no terminal."""

    def __init__(self) -> None:
        console = rich.console.Console(stderr=True)
        self._bars = rich.progress.Progress(
            "{task.description:>11}",
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
            rich.progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, step: str, done: int, total: int | None) -> None:
        """Progress as :mod:`pithosfs.transfer` tells it."""
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)


Action = Callable[[Client, argparse.Namespace, Bars], str]
ACTIONS: dict[str, Action] = {
    "upload": uploadfile,
    "uploadfile": uploadfile,
    "uploadBfile": upload_big_file,
    "uploadurl": uploadurl,
    "download": download,
    "downloadBig": download_big,
    "downloadSendBig": download_send_big,
}

if __name__ == "__main__":
    sys.exit(main())
