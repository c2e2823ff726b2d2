"""The example programs, run as themselves and as `import tensorflow as tf` scripts under `flowmesh run`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowmesh.cli.launcher import LocalCluster
from flowmesh.cli.task import Task
from tests.ports import free_addresses

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 120


def as_tensorflow(script: Path, folder: Path) -> Path:
    """A copy of the script that imports tensorflow instead of flowmesh."""
    text = script.read_text()
    text = text.replace("import flowmesh as tf", "import tensorflow as tf")
    text = text.replace(
        "from flowmesh.client.timeline import", "from tensorflow.python.client.timeline import"
    )
    assert "flowmesh" not in re.sub(r'(?s)""".*?"""', "", text).replace(
        "flowmesh.simulate_gpus", ""
    ).replace("flowmesh-", "")
    copy = folder / script.name
    copy.write_text(text)
    return copy


@pytest.fixture(params=["flowmesh", "tensorflow"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    """`command(script)` -> the start of a command line for it, in both forms."""

    def make(name: str) -> list[str]:
        script = EXAMPLES / name
        if request.param == "flowmesh":
            return [sys.executable, str(script)]
        return [sys.executable, "-m", "flowmesh", "run", str(as_tensorflow(script, tmp_path))]

    return make


def run(command: list[str]) -> tuple[str, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_placement(command) -> None:
    out, err = run(command("placement.py"))
    assert "[[22. 28.]\n [49. 64.]]" in out and "sum: 163.0" in out
    assert "c: (MatMul): /job:localhost/replica:0/task:0/device:CPU:0" in err


def test_pi_over_simulated_gpus(command) -> None:
    out, _ = run([*command("pi_gpus.py"), "--simulate", "--samples=400000", "--seed=7"])
    assert 3.12 < float(re.search(r"about ([\d.]+)", out)[1]) < 3.16


def test_pi_without_gpus_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "pi_gpus.py")], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "was explicitly assigned to /device:GPU:0" in done.stderr
    assert "--simulate-gpus" in done.stderr


def test_distributed_pi(command) -> None:
    hosts = free_addresses(2)
    servers = [
        subprocess.Popen(
            [*command("distributed_pi/server.py"), f"--index={i}", f"--hosts={','.join(hosts)}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        out, _ = run(
            [
                *command("distributed_pi/client.py"),
                f"--master=grpc://{hosts[0]}",
                "--samples=400000",
            ]
        )
        assert 3.12 < float(re.search(r"about ([\d.]+)", out)[1]) < 3.16
        assert all(s.poll() is None for s in servers)  # they serve on
    finally:
        for server in servers:
            server.terminate()
            server.communicate(timeout=20)


def test_linear_regression_on_a_cluster(command, tmp_path: Path) -> None:
    lines: list[str] = []
    start = [*command("linear_regression.py"), "--steps=300", f"--logdir={tmp_path / 'log'}"]
    with LocalCluster(
        start, ps=1, workers=2, on_output=lambda task, text: lines.append(text)
    ) as cluster:
        assert cluster.wait(timeout=SECONDS) == 0, "\n".join(lines)
    ended = [re.search(r"worker (\d): done, w = ([-\d.]+), b0 = ([-\d.]+)", line) for line in lines]
    found = {int(m[1]): (float(m[2]), float(m[3])) for m in ended if m}
    assert set(found) == {0, 1}, lines
    # whoever ends last sees the shared variables where both have brought them
    assert any(abs(w - 2) < 0.1 and abs(b - 0.2) < 0.1 for w, b in found.values()), lines
    assert any("partial w" in line for line in lines)
    files = os.listdir(tmp_path / "log")
    assert any(f.startswith("events.out.tfevents") for f in files)
    assert "checkpoint" in files


def test_one_dash_flags_are_understood(command, tmp_path: Path) -> None:
    ps, worker = free_addresses(2)
    common = [
        *command("linear_regression.py"),
        f"-ps_hosts={ps}",
        f"-worker_hosts={worker}",
        "-steps",
        "120",
    ]
    server = subprocess.Popen([*common, "-job_name=ps", "-task_index=0"])
    try:
        out, _ = run([*common, "-job_name=worker", "-task_index=0", f"-logdir={tmp_path}"])
        assert "worker 0: done" in out
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_in_graph_replication(command) -> None:
    out, _ = run(command("in_graph_replication.py"))
    assert "shape of the joined output: (100, 2)" in out
    assert "equal to the product on one machine: True" in out
    assert "/job:worker/task:1" in out


def test_reduce_sum_over_two_workers(command) -> None:
    out, err = run(command("reduce_sum.py"))
    assert "total: 4950.0" in out
    assert "worker 0 sums: [50][0]" in err and "worker 1 sums: [50][50]" in err


def test_placement_options(command, tmp_path: Path) -> None:
    trace = tmp_path / "timeline.json"
    out, err = run([*command("placement_options.py"), f"--timeline={trace}"])
    assert "Without soft placement: Cannot assign a device for operation" in out
    assert "b: (MatMul): /job:localhost/replica:0/task:0/device:CPU:0" in err
    assert re.search(r"^  b +\d+ us$", out, re.M)
    events = json.loads(trace.read_text())["traceEvents"]
    assert {e["name"] for e in events} >= {"MatMul", "Sum"}


def test_variables_on_ps(command) -> None:
    out, _ = run(command("variables_on_ps.py"))
    assert re.search(r"weights_1:0 +on /job:ps/task:0", out)
    assert re.search(r"biases_1:0 +on /job:ps/task:1", out)
    assert re.search(r"weights_2:0 +on /job:ps/task:0", out)
    assert 'initializer_name: "weights_1/Assign"' in out


def test_digits_on_a_cluster(tmp_path: Path) -> None:
    """What `make run` runs."""
    out, _ = run(
        [
            sys.executable,
            str(EXAMPLES / "digits" / "run.py"),
            "--steps=1500",
            f"--logdir={tmp_path}",
        ]
    )
    accuracy = float(re.search(r"test accuracy +([\d.]+)%", out)[1])
    assert accuracy >= 95
    assert "all processes have ended" in out
    assert (tmp_path / "checkpoint").exists()


def test_a_killed_worker_leaves_the_others_training_and_rejoins(tmp_path: Path) -> None:
    """Worker 1 is killed in the middle and restarted: worker 0 goes on, nothing is reset."""
    steps: dict[str, list[int]] = {"worker/0": [], "worker/1": []}
    killed: list[Task] = []
    after_kill: list[int] = []
    rejoined: list[int] = []

    def line(task: Task, text: str) -> None:
        if not text.startswith("@progress "):
            return
        facts = json.loads(text.removeprefix("@progress "))
        if "step" not in facts:
            return
        steps[task.name].append(facts["step"])
        if killed and task.name == "worker/0":
            after_kill.append(facts["step"])
            if len(after_kill) == 2 and killed[0].returncode is not None:
                cluster.restart(killed[0])
        if killed and task.name == "worker/1":
            rejoined.append(facts["step"])
        if (
            not killed
            and task.name == "worker/1"
            and facts["step"] > 200
            and task.process is not None
        ):
            killed.append(task)
            os.kill(task.pid, 9)

    start = [
        sys.executable,
        str(EXAMPLES / "digits" / "train.py"),
        "--steps=2000",
        f"--logdir={tmp_path}",
    ]
    with LocalCluster(start, ps=1, workers=2, on_output=line) as cluster:
        cluster.wait(timeout=SECONDS)
    assert killed, "the worker was never killed"
    assert after_kill and after_kill[-1] >= 2000  # worker 0 went on to the end
    assert steps["worker/0"] == sorted(steps["worker/0"])  # the shared step was never reset
    if rejoined:
        assert rejoined[0] > 200  # and the restarted worker took over the live variables


def test_estimator(command) -> None:
    out, _ = run(command("estimator.py"))
    accuracy = re.search(r"step 400: test accuracy ([\d.]+)%", out)
    assert accuracy and float(accuracy[1]) > 85, out
    assert "the first digits: [0, 1, 2]" in out


def test_dataset_pipeline(command) -> None:
    out, _ = run(command("dataset_pipeline.py"))
    last = out.splitlines()[-1]
    found = re.fullmatch(r"after 94 steps: accuracy (0\.\d+)", last)
    assert found is not None and float(found.group(1)) > 0.95, out
