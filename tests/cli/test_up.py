"""`flowmesh up`: what the terminal shows, the exit code, and that nothing is left behind."""

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowmesh.cli import up
from flowmesh.cli.task import Task
from flowmesh.distributed.ports import ReservedPort
from tests.cli.commands import ENV, MAIN, flowmesh, needs_pidfd, script, wait_for_ends

WHO = """
import json, os, signal, subprocess, sys
place = json.loads(os.environ["TF_CONFIG"])["task"]
job, index = place["type"], place["index"]
"""
# Tells its own and a child's number, then waits for ever, deaf to SIGTERM.
DEAF = f"""{WHO}
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("pids", os.getpid(), child.pid)
signal.pause()
"""


@contextmanager
def running(*words: object) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """`flowmesh up` of three tasks like DEAF, and the numbers of all processes below it."""
    command = [sys.executable, "-c", MAIN, "up", *map(str, words)]
    process = subprocess.Popen(
        command, env=ENV, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        pids: list[int] = []
        while len(pids) < 6:
            line = process.stdout.readline()
            assert line, "the launcher ended early"
            for told in re.findall(r"\| pids (\d+) (\d+)", line):
                pids += map(int, told)
        try:
            yield process, pids
        finally:
            process.kill()
            process.stdout.close()


def test_the_script_runs_as_every_task_with_both_vocabularies(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        f"{WHO}\nimport tensorflow as tf, flowmesh\n"
        "print(tf.__version__, os.environ.get('FLOWMESH_SIMULATE_GPUS'), sys.argv[1])\n"
        "if job == 'ps': signal.pause()\n",
    )
    done = flowmesh("up", "--ps", 1, "--workers", 2, "--simulate-gpus", 3, path, "--ps=mine")
    workers = [line for line in done.stdout.splitlines() if line.startswith("worker")]
    assert sorted(workers) == [f"worker/{index} | 1.15.0 3 --ps=mine" for index in range(2)]
    assert done.returncode == 0
    assert re.fullmatch(
        r"flowmesh up: ps/0 127\.0\.0\.1:\d+, worker/0 127\.0\.0\.1:\d+, worker/1 .*\n", done.stderr
    )


def test_prefixes_line_up_and_logs_are_kept(tmp_path: Path) -> None:
    path = script(tmp_path, f"{WHO}\nprint('as', job)\nif job == 'ps': signal.pause()\n")
    logs = tmp_path / "logs" / "new"
    words = ("up", "--plain", "--quiet", "--workers", 11, "--ps", 0, "--log-dir", logs, path)
    done = flowmesh(*words)
    expected = sorted(f"{f'worker/{index}':9} | as worker" for index in range(11))
    assert sorted(done.stdout.splitlines()) == expected
    assert done.stderr == ""
    assert (logs / "worker-10.log").read_text() == "as worker\n"


def test_the_first_failing_task_is_named_with_its_last_lines(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        f"{WHO}\nif job == 'ps': signal.pause()\n"
        "if index == 1:\n    print('oh no')\n    sys.exit(3)\n",
    )
    done = flowmesh("up", "--plain", "--quiet", path)
    assert done.returncode == 3
    shown = done.stderr.splitlines()
    assert re.fullmatch(r"flowmesh up: worker/1 \(pid \d+\) exited with code 3", shown[0])
    assert shown[1:] == [
        "flowmesh up: failed because worker/1 exited with code 3; the last it said:",
        "    oh no",
    ]


def test_modules_and_code_run_too(tmp_path: Path) -> None:
    script(tmp_path, "import tensorflow as tf\nprint(tf.VERSION)\n", "task.py")
    done = flowmesh("up", "--ps", 0, "--workers", 1, "--quiet", "-m", "task", cwd=tmp_path)
    assert done.stdout == "worker/0 | 1.15.0\n"
    words = ("up", "--plain", "--no-flags", "--ps", 0, "--workers", 1, "--quiet")
    done = flowmesh(*words, "-c", "import sys; print(sys.argv)", "x")
    assert done.stdout == "worker/0 | ['-c', 'x']\n"


@needs_pidfd
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_within_two_seconds(number: signal.Signals) -> None:
    with running("--plain", "-c", DEAF) as (process, pids):
        began = time.monotonic()
        process.send_signal(number)
        wait_for_ends([*pids, process.pid], timeout=10)
        assert time.monotonic() - began < 2.0
        assert process.wait(10) == 128 + number


@needs_pidfd
def test_a_second_signal_does_not_wait() -> None:
    with running("--plain", "--grace", "60", "-c", DEAF) as (process, pids):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        wait_for_ends([*pids, process.pid], timeout=10)
        assert process.wait(10) in (128 + signal.SIGTERM, 128 + signal.SIGINT)


@needs_pidfd
@pytest.mark.parametrize("through", ["--plain", "--as-tensorflow"])
def test_nothing_outlives_a_launcher_that_is_killed(through: str) -> None:
    with running(through, "-c", DEAF) as (process, pids):
        process.kill()
        wait_for_ends(pids)


@needs_pidfd
def test_nothing_is_left_when_nobody_reads_the_output() -> None:
    code = f"{WHO}\nprint('pids', os.getpid(), os.getpid())\nwhile job == 'worker': print('more')\n"
    with running("--plain", "--ps", 0, "--workers", 3, "-c", code) as (process, pids):
        assert process.stdout is not None
        process.stdout.close()
        wait_for_ends([*pids, process.pid])
        assert process.wait(10) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0", "x.py"], "at least one worker"),
        (["--ps", "-1", "x.py"], "-1 is negative"),
        (["missing.py"], "there is no script 'missing.py'"),
        ([], "what to run is missing"),
        (["--plain", "--as-tensorflow", "x.py"], "not allowed with"),
    ],
)
def test_wrong_command_lines_say_why(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        up.main(words)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "workers", "dealt"),
    [
        ("0,1,2,3", 2, ["0,1", "2,3"]),
        ("0,1,2", 2, ["0,1", "2"]),
        ("3, 5", 2, ["3", "5"]),
        ("0,1", 3, ["0", "1", "0"]),
        ("none", 2, ["", ""]),
        ("", 1, [""]),
    ],
)
def test_gpus_are_dealt_out(text: str, workers: int, dealt: list[str]) -> None:
    assert up.deal_gpus(text, workers) == dealt


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_in_a_terminal_and_one_per_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    assert up._wants_colour(terminal)
    assert not up._wants_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not up._wants_colour(terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not up._wants_colour(terminal)

    printer = up.Printer(terminal, colour=True, width=8, log_dir=None)
    port = ReservedPort("127.0.0.1", 0)
    for name in (0, 1, 0):
        printer.line(Task("worker", name, port), "[bold]text")
    port.close()
    first, second, third = terminal.getvalue().splitlines()
    assert first == third == "\x1b[36mworker/0 | \x1b[0m[bold]text"
    assert second == "\x1b[33mworker/1 | \x1b[0m[bold]text"


def test_an_encoding_that_cannot_show_a_line_is_no_error(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nsys.stdout.buffer.write('\u2713\\n'.encode())\n")
    words = ("up", "--plain", "--quiet", "--ps", 0, "--workers", 1, path)
    done = flowmesh(*words, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "worker/0 | \\u2713\n")
