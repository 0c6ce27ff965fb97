"""The command line as such: help, mistakes, exit codes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pithosfs import __version__, cli, errors, mountpoints
from pithosfs.cli import exits
from pithosfs.cli.exits import CommandError, ExitCode

README = Path(__file__).parents[2] / "README.md"
COMMANDS = next(each.choices for each in cli.parser()._actions if each.dest == "command") or {}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"pithosfs {__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\s+\w", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^Example:\n(  .*\n)*  .*pithosfs {command}", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 110


def test_help_says_where_the_account_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mount", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "configuration file (default: what KAMAKI_CONFIG names, else ~/.kamakirc)" in text
    assert "is needed then, but --account and a token" in text
    assert "with --url it must be given" in text
    assert "the variable PITHOSFS_TOKEN" in text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("teleport", "there is no command 'teleport'; see: pithosfs --help"),
        ("unmount /mnt", "there is no command 'unmount', maybe you mean umount"),
        ("trash", "pithosfs trash: the following arguments are required: ACTION"),
        ("restore x --at 2 hours ago", "hours ago (words that belong together want quotes)"),
        ("mount pithos", "required: MOUNTPOINT"),
        ("mount pithos /mnt --cache-size much", "argument --cache-size: 'much' is no size"),
        ("mount pithos /mnt --timeout 0", "argument --timeout: '0' must be more than zero"),
        ("mount pithos /mnt --log-level loud", "'loud' is no log level: use one of debug, info"),
        ("mount pithos /mnt -o ro,colour=red", "unknown mount option 'colour'"),
        ("mount pithos /mnt --token x", "unrecognized arguments: --token"),
        ("mount pithos /mnt --cache x", "unrecognized arguments: --cache"),
        ("serve /tmp/x --port 70000", "argument --port: '70000' is no port"),
        ("umount /mnt --timeout soon", "'soon' is no duration"),
        ("share pithos/x --none --read bob", "--none goes with neither --read nor --write"),
    ],
)
def test_mistakes_are_told_in_one_line(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == ExitCode.USAGE
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("pithosfs")
    assert complaint in said


def test_nothing_asked_for_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == ExitCode.USAGE
    assert "see it work in a minute" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["difflib", "platformdirs"])
def test_an_interrupt_while_modules_are_loaded_is_one_line(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "pithosfs", "status"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (130, "pithosfs: interrupted\n")


@pytest.mark.parametrize("words", ["--help", "--version", "mount --help", "completion bash", "status"])
def test_output_that_cannot_be_written_is_a_failure(words: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pithosfs", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(r"pithosfs.*: .*No space left on device\n", done.stderr)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_like_dev_null(closed: str) -> None:
    script = f'"{sys.executable}" -m pithosfs status /nowhere {closed}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    said = "" if "2>" in closed else "pithosfs status: nothing is mounted on /nowhere\n"
    assert (done.returncode, done.stdout, done.stderr) == (7, "", said)
    done = subprocess.run(
        ["sh", "-c", script.replace("/nowhere", "")], capture_output=True, text=True, check=False
    )
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_every_exit_code_is_documented() -> None:
    table = re.findall(r"^\| (\d+) \| (.*) \|$", README.read_text(), re.MULTILINE)
    assert {int(code) for code, _ in table} == {code.value for code in ExitCode}
    in_help = re.findall(r"^  (\d+) +(.*)$", exits.documented(), re.MULTILINE)
    assert in_help == [(code, meaning.replace("`", "")) for code, meaning in table]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), ExitCode.SETTINGS),
        (errors.Unauthorized("x"), ExitCode.ACCESS),
        (errors.Forbidden("x"), ExitCode.ACCESS),
        (errors.NotFound("x"), ExitCode.NOT_FOUND),
        (errors.TimedOut("x"), ExitCode.UNAVAILABLE),
        (errors.ProtocolError("x"), ExitCode.UNAVAILABLE),
        (errors.NoSpace("x"), ExitCode.FAILED),
        (mountpoints.StillInUse("x"), ExitCode.IN_USE),
        (mountpoints.MountPointError("x"), ExitCode.MOUNTPOINT),
        (CommandError("x", ExitCode.UNSENT), ExitCode.UNSENT),
        (OSError(2, "No such file", "/log"), ExitCode.FAILED),
        (RuntimeError("x"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
)
def test_each_error_is_one_line_and_a_code(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        raise error

    assert exits.guarded("mount", run) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"pithosfs mount: .+\n", said.err)


def test_an_error_of_many_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> int:
        raise errors.BadRequest("first\nsecond")

    exits.guarded("mount", run)
    assert capsys.readouterr().err == "pithosfs mount: first second\n"


def test_a_log_has_one_line_for_a_message_whatever_the_names_in_it(tmp_path: Path) -> None:
    program = """
import logging, sys
from pathlib import Path
from pithosfs.cli import logs
logs.start("info", Path(sys.argv[1]))
logging.warning("%s cannot be sent", "a\\n\\x1b[2J\\x9b")
try:
    raise ValueError("\\x1b")
except ValueError:
    logging.exception("trouble")
"""
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", program, log], check=True)
    text = log.read_text()
    assert text.splitlines()[0].endswith("WARNING root: a\\n\\x1b[2J\\x9b cannot be sent")
    assert text.splitlines()[-1] == "ValueError: \\x1b"
    assert all(char.isprintable() for char in text.replace("\n", ""))


def test_a_log_goes_on_when_it_can_be_written_again(tmp_path: Path) -> None:
    program = """
import logging, shutil, sys
from pathlib import Path
from pithosfs.cli import logs
log = Path(sys.argv[1])
logs.start("info", log)
shutil.rmtree(log.parent)
logging.warning("this is lost")
log.parent.mkdir()
logging.warning("this is not")
"""
    log = tmp_path / "logs" / "log"
    log.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", program, log], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert log.read_text().endswith("WARNING root: this is not\n")


def test_a_port_that_is_taken_is_told_and_leaves_no_store_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("new", "old"):
            assert cli.main(["serve", str(tmp_path / name), "--port", port]) == 1
            assert capsys.readouterr().err == (
                f"pithosfs serve: cannot listen on 127.0.0.1:{port}: Address already in use;"
                " choose another port with --port (0: a free one), or address with --host\n"
            )
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]


def complete_in_bash(script: Path, line: str, folder: Path) -> list[str]:
    """What bash offers after ``line``."""
    words = shlex.join(line.split())
    program = f"""
        source {script}
        COMP_WORDS=({words}{" ''" if line.endswith(" ") else ""})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        COMP_LINE={shlex.quote(line)} COMP_POINT=${{#COMP_LINE}}
        $(complete -p pithosfs | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p') pithosfs "${{COMP_WORDS[COMP_CWORD]}}" x
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False, cwd=folder)
    return done.stdout.split()


class TestCompletion:
    @pytest.fixture
    def script(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
        assert cli.main(["completion", "bash"]) == 0
        file = tmp_path / "script"
        file.write_text(capsys.readouterr().out)
        return file

    def test_of_commands_options_and_files_in_bash(self, script: Path, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        assert complete_in_bash(script, "pithosfs um", tmp_path) == ["umount"]
        assert complete_in_bash(script, "pithosfs mount --cache-d", tmp_path) == ["--cache-dir"]
        assert "folder" in complete_in_bash(script, "pithosfs umount fol", tmp_path)
        assert complete_in_bash(script, "pithosfs upload fol", tmp_path) == ["folder"]
        assert complete_in_bash(script, "pithosfs mount --log-level de", tmp_path) == ["debug"]

    @pytest.mark.parametrize("shell", ["zsh", "fish"])
    def test_for_other_shells(self, shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert "dir-cache-time" in text
        if shutil.which(shell):
            (tmp_path / "script").write_text(text)
            subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)
