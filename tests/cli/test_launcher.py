"""`LocalCluster` with tasks that are tiny Python programs; what must block does so until told."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flowmesh.cli.launcher import LocalCluster
from flowmesh.cli.process import Lines
from flowmesh.cli.task import Task
from tests.cli.commands import needs_pidfd, wait_for_ends

PREAMBLE = """
import json, os, signal, subprocess, sys
config = json.loads(os.environ["TF_CONFIG"])
job, index = config["task"]["type"], config["task"]["index"]
"""
PAUSE = "signal.pause()\n"
PS_PAUSES = f"if job == 'ps':\n    {PAUSE}"
WAITS_FOR_USR1 = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def go_on():
    print("waits")
    signal.sigwait([signal.SIGUSR1])
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n" + PAUSE


class Lined:
    """Collects what tasks print and lets a test wait for a line."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self._changed = threading.Condition()

    def __call__(self, task: Task, line: str) -> None:
        with self._changed:
            self.lines.setdefault(task.name, []).append(line)
            self._changed.notify_all()

    def wait_for(self, name: str, count: int = 1) -> list[str]:
        """Wait until task `name` has printed `count` lines."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines.get(name, ())) >= count, 30)
            return list(self.lines[name])


@pytest.fixture
def said() -> Lined:
    return Lined()


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def cluster(code: str, *arguments: str, **options: Any) -> LocalCluster:
    return LocalCluster([sys.executable, "-c", PREAMBLE + code, *arguments], **options)


def let_workers_end(made: LocalCluster, said: Lined) -> None:
    """Waits until every task has printed its line, the workers that they wait; then lets the workers end."""
    for task in made.tasks:
        said.wait_for(task.name, 1 if task.job == "ps" else 2)
    for task in made.tasks:
        if task.job == "worker":
            assert task.pid is not None
            os.kill(task.pid, signal.SIGUSR1)


def test_tasks_get_flags_after_the_arguments_and_tf_config(said: Lined) -> None:
    code = WAITS_FOR_USR1 + "print(json.dumps([sys.argv[1:], config]))\n" + PS_PAUSES + "go_on()\n"
    with cluster(code, "--x", "1", ps=2, workers=3, on_output=said) as made:
        let_workers_end(made, said)
        assert made.wait(30) == 0
    spec = made.spec
    assert [len(spec["ps"]), len(spec["worker"])] == [2, 3]
    addresses = spec["ps"] + spec["worker"]
    assert len(set(addresses)) == 5
    assert [task.address for task in made.tasks] == addresses
    for task in made.tasks:
        assert json.loads(said.lines[task.name][0]) == [
            [
                "--x",
                "1",
                f"--ps_hosts={','.join(spec['ps'])}",
                f"--worker_hosts={','.join(spec['worker'])}",
                f"--job_name={task.job}",
                f"--task_index={task.index}",
            ],
            {"cluster": spec, "task": {"type": task.job, "index": task.index}},
        ]


def test_no_flags_and_no_ps(said: Lined) -> None:
    code = "print(sys.argv[1:], list(config['cluster']))"
    with cluster(code, ps=0, workers=1, flags=False, on_output=said) as made:
        assert made.wait(30) == 0
    assert said.lines == {"worker/0": ["[] ['worker']"]}


def test_a_task_can_listen_on_its_port(said: Lined) -> None:
    code = """
import socket
host, _, port = config["cluster"][job][index].rpartition(":")
server = socket.create_server((host, int(port)))
if job == "ps":
    server.accept()
    print("accepted")
    signal.pause()
elif index == 0:
    print("listens")
"""
    with cluster(code, ps=1, workers=1, on_output=said) as made:
        assert made.wait(30) == 0
    assert said.lines == {"worker/0": ["listens"]}


def test_gpus_go_to_workers_only(said: Lined) -> None:
    code = (
        WAITS_FOR_USR1
        + "print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')), os.environ['EXTRA'])\n"
    )
    code += PS_PAUSES + "go_on()\n"
    options: dict[str, Any] = {"gpus": ["0,1", "2"], "env": {"EXTRA": "e"}, "on_output": said}
    with cluster(code, ps=1, workers=2, **options) as made:
        let_workers_end(made, said)
        assert made.wait(30) == 0
    assert said.lines["worker/0"] == ["'0,1' e", "waits"]
    assert said.lines["worker/1"] == ["'2' e", "waits"]
    assert said.lines["ps/0"] == ["'' e"]


def test_ps_tasks_are_stopped_when_the_workers_have_ended(said: Lined) -> None:
    with cluster(PS_PAUSES, ps=2, workers=2, on_output=said) as made:
        assert made.wait(30) == 0
    for task in made.tasks:
        assert task.returncode == (-signal.SIGTERM if task.job == "ps" else 0)
    assert not made.failures


def test_a_ps_that_does_not_stop_is_killed(said: Lined) -> None:
    code = f"{WAITS_FOR_USR1}if job == 'worker':\n    go_on()\n    sys.exit()\n{STUBBORN}"
    with cluster(code, ps=1, workers=1, grace=0.05, on_output=said) as made:
        said.wait_for("ps/0")
        said.wait_for("worker/0")
        os.kill(made.task("worker", 0).pid or 0, signal.SIGUSR1)
        assert made.wait(30) == 0
    assert made.task("ps", 0).returncode == -signal.SIGKILL


def test_the_first_failing_exit_code_is_returned_and_the_others_go_on(said: Lined) -> None:
    code = """
if job == "ps":
    signal.pause()
if index == 1:
    print("about to fail")
    sys.exit(3)
go_on()
print("went on")
"""
    ended: list[str] = []
    first = threading.Event()

    def on_exit(task: Task) -> None:
        ended.append(f"{task.name} {task.describe_end()}, failed: {task.failed}")
        first.set()

    with cluster(WAITS_FOR_USR1 + code, ps=1, workers=2, on_output=said, on_exit=on_exit) as made:
        assert first.wait(30)
        said.wait_for("worker/0")
        os.kill(made.task("worker", 0).pid or 0, signal.SIGUSR1)
        assert made.wait(30) == 3
    assert ended == [
        "worker/1 exited with code 3, failed: True",
        "worker/0 exited with code 0, failed: False",
        "ps/0 was killed by SIGTERM, failed: False",
    ]
    assert [failure.task.name for failure in made.failures] == ["worker/1"]
    assert made.failures[0].last_lines == ["about to fail"]
    assert said.lines["worker/0"] == ["waits", "went on"]


def test_fail_fast_stops_the_others() -> None:
    code = "if (job, index) == ('worker', 1):\n    sys.exit(4)\n" + PAUSE
    with cluster(code, ps=1, workers=2, fail_fast=True) as made:
        assert made.wait(30) == 4
    assert made.task("worker", 0).returncode == -signal.SIGTERM
    assert [failure.task.name for failure in made.failures] == ["worker/1"]


def test_a_signal_is_reported_as_a_shell_does() -> None:
    with cluster("os.kill(os.getpid(), signal.SIGKILL)", ps=0, workers=1) as made:
        assert made.wait(30) == 137
    (task,) = made.tasks
    assert task.describe_end() == "was killed by SIGKILL"
    assert "worker/0" in repr(task)


def test_a_failing_ps_counts_too(said: Lined) -> None:
    code = "if job == 'ps':\n    sys.exit(5)\nprint('on')\nsignal.pause()\n"
    ended = threading.Event()
    with cluster(code, ps=1, workers=1, on_output=said, on_exit=lambda task: ended.set()) as made:
        assert ended.wait(30)
        os.kill(made.task("worker", 0).pid or 0, signal.SIGKILL)
        assert made.wait(30) == 5


def test_what_cannot_be_started_says_so(said: Lined) -> None:
    with LocalCluster(["/no/such/program"], ps=0, workers=1, on_output=said) as made:
        assert made.wait(30) == 1
    assert said.lines["worker/0"] == ["cannot start '/no/such/program': No such file or directory"]
    missing = LocalCluster(["true"], ps=1, workers=1, cwd="/no/such/folder")
    with pytest.raises(FileNotFoundError):
        missing.start()
    assert missing._done.is_set()


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a worker"):
        LocalCluster(["true"], ps=1, workers=0)
    with pytest.raises(ValueError, match="gpus names 1 workers, there are 2"):
        LocalCluster(["true"], workers=2, gpus=["0"])


def test_output_and_errors_come_in_order_and_whole(said: Lined) -> None:
    code = """
sys.stdout.write("one"); sys.stdout.flush()
sys.stdout.write(" line\\n")
sys.stderr.write("an error\\n")
sys.stdout.buffer.write("10%\\r20%\\rdone\\n".encode() + b"\\xff\\n" + "ü\\n".encode())
sys.stdout.write("without an end")
"""
    with cluster(code, ps=0, workers=1, on_output=said) as made:
        assert made.wait(30) == 0
    assert said.lines["worker/0"] == [
        "one line",
        "an error",
        "10%",
        "20%",
        "done",
        "\ufffd",
        "ü",
        "without an end",
    ]


def test_much_output_of_many_tasks_is_complete(said: Lined) -> None:
    code = "for number in range(5000):\n    print(job, index, number, 'x' * 50)\n"
    with cluster(code, ps=0, workers=3, on_output=said) as made:
        assert made.wait(60) == 0
    for index in range(3):
        expected = [f"worker {index} {number} {'x' * 50}" for number in range(5000)]
        assert said.lines[f"worker/{index}"] == expected


def test_stop_ends_everything_and_may_be_repeated(said: Lined) -> None:
    made = cluster("print('up')\n" + PAUSE, ps=1, workers=1, on_output=said).start()
    said.wait_for("ps/0")
    said.wait_for("worker/0")
    with pytest.raises(TimeoutError, match="still runs after 0 s"):
        made.wait(0)
    made.stop()
    made.stop()
    assert [task.returncode for task in made.tasks] == [-signal.SIGTERM] * 2
    assert made.wait(0) == 0
    with pytest.raises(RuntimeError, match="only once"):
        made.start()
    LocalCluster(["true"]).stop()


def test_stop_kills_what_ignores_it(said: Lined) -> None:
    with cluster(STUBBORN, ps=1, workers=1, on_output=said) as made:
        said.wait_for("ps/0")
        said.wait_for("worker/0")
        made.stop(grace=0.05)
    assert [task.returncode for task in made.tasks] == [-signal.SIGKILL] * 2


@needs_pidfd
def test_children_of_a_task_end_with_it(said: Lined) -> None:
    code = """
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid)
"""
    with cluster(code, ps=0, workers=1, on_output=said) as made:
        assert made.wait(30) == 0
        wait_for_ends([int(said.lines["worker/0"][0])])


def test_an_error_in_a_callback_ends_the_cluster() -> None:
    def broken(task: Task, line: str) -> None:
        raise ZeroDivisionError(line)

    with cluster("print('one')\n" + PAUSE, ps=1, workers=2, on_output=broken) as made:
        with pytest.raises(ZeroDivisionError, match="one"):
            made.wait(30)
        with pytest.raises(RuntimeError, match="the cluster has ended"):
            made.restart(made.tasks[0])
    assert all(task.returncode is not None for task in made.tasks)


def test_restart_only_when_asked_and_at_the_same_address(said: Lined) -> None:
    code = "print(config['cluster'][job][index])\nsignal.pause()\n"
    ended = threading.Event()
    with cluster(code, ps=1, workers=2, on_output=said, on_exit=lambda task: ended.set()) as made:
        lost = made.task("worker", 1)
        said.wait_for("worker/1")
        with pytest.raises(RuntimeError, match=r"worker/1 is still running"):
            made.restart(lost)
        first_pid = lost.pid
        os.kill(lost.pid or 0, signal.SIGKILL)
        assert ended.wait(30)
        made.restart(lost)
        assert said.wait_for("worker/1", 2) == [lost.address] * 2
        assert lost.pid != first_pid
        assert lost.returncode is None
        made.stop()
    assert made.wait(0) == 137
    with pytest.raises(KeyError):
        made.task("worker", 9)


def test_without_pidfds_the_end_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    code = "if job == 'ps':\n    signal.pause()\nos.close(1); os.close(2)\nsys.exit(2)\n"
    with cluster(code, ps=1, workers=1) as made:
        assert made.wait(30) == 2


def test_lines_are_cut_however_the_bytes_arrive() -> None:
    data = "a\r\nbü\rc\n\nd".encode()
    for size in range(1, len(data) + 1):
        lines = Lines()
        cut = [
            line
            for start in range(0, len(data), size)
            for line in lines.feed(data[start : start + size])
        ]
        assert cut + lines.feed(b"", final=True) == ["a", "bü", "c", "", "d"]


def test_a_line_without_end_is_cut_at_last() -> None:
    lines = Lines()
    assert lines.feed(b"x" * 60_000) == []
    assert lines.feed(b"x" * 60_000) == ["x" * 120_000]


def test_the_first_worker_can_be_the_chief(said: Lined) -> None:
    show = "print(job, index, sorted((j, len(a)) for j, a in config['cluster'].items()))\n"
    code = WAITS_FOR_USR1 + show + PS_PAUSES + "go_on()\n"
    with LocalCluster(
        [sys.executable, "-c", PREAMBLE + code],
        workers=3,
        flags=False,
        chief=True,
        on_output=said,
    ) as made:
        let_workers_end(made, said)
        assert made.wait(30) == 0
    jobs = "[('chief', 1), ('ps', 1), ('worker', 2)]"
    assert said.lines == {
        "ps/0": [f"ps 0 {jobs}"],
        "worker/0": [f"chief 0 {jobs}", "waits"],
        "worker/1": [f"worker 0 {jobs}", "waits"],
        "worker/2": [f"worker 1 {jobs}", "waits"],
    }
