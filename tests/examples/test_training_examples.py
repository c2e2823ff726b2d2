"""The examples of distributed training and input: each is run as its users run it, and judged by what it prints and leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from flowmesh.cli.launcher import LocalCluster
from flowmesh.cli.task import Task

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 120


class Run:
    """An example on a cluster of processes, and what its tasks print."""

    def __init__(self, script: str, *args: str, ps: int = 1, workers: int = 2) -> None:
        command = [sys.executable, str(EXAMPLES / script), *args]
        self.lines: list[str] = []
        self.facts: list[dict[str, Any]] = []
        self.cluster = LocalCluster(command, ps=ps, workers=workers, on_output=self._hear)

    def _hear(self, task: Task, line: str) -> None:
        self.lines.append(f"{task.name} | {line}")
        if line.startswith("@progress "):
            facts = json.loads(line.removeprefix("@progress "))
            self.facts.append(facts)
            self.progress(task, facts)

    def progress(self, task: Task, facts: dict[str, Any]) -> None:
        """Called with each line of progress."""

    def to_the_end(self) -> int:
        """The exit code of the cluster."""
        with self.cluster:
            return self.cluster.wait(timeout=SECONDS)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Killing(Run):
    """Kills the first worker but the chief that has trained for a while."""

    killed: Task | None = None

    def progress(self, task: Task, facts: dict[str, Any]) -> None:
        chosen = self.killed is None and task.index > 0 and facts["step"] > 20
        if chosen and task.pid is not None:
            self.killed = task
            os.kill(task.pid, signal.SIGKILL)


@pytest.mark.parametrize(("script", "steps"), [("asynchronous", 400), ("synchronous", 100)])
def test_digits_go_on_without_a_killed_worker(tmp_path: Path, script: str, steps: int) -> None:
    run = Killing(f"digits/{script}.py", f"--steps={steps}", f"--logdir={tmp_path}", workers=3)
    assert run.to_the_end() == 128 + signal.SIGKILL, run.text
    assert run.killed is not None
    assert run.killed.returncode == -signal.SIGKILL
    assert [
        t.returncode for t in run.cluster.tasks if t is not run.killed and t.job == "worker"
    ] == [
        0,
        0,
    ], run.text
    result = run.facts[-1]
    assert result["test_accuracy"] > 0.9
    step = tf.train.load_variable(result["checkpoint"], "global_step")
    assert steps <= step <= steps + 2
    assert step == steps or script == "asynchronous"
    tags = {
        value.tag
        for path in tmp_path.glob("events.out.tfevents*")
        for event in tf.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"loss", "accuracy", "global_step/sec"} <= tags
    if script == "asynchronous":
        assert "staleness_aware/staleness_histogram" in tags
        assert any(facts.get("mean_staleness", 0) > 0 for facts in run.facts)


def test_every_row_of_the_csv_files_is_trained_on_once() -> None:
    run = Run("csv_pipeline.py", "--rows=150", workers=3)
    assert run.to_the_end() == 0, run.text
    assert "reader: 900 rows read by 2 threads" in run.text
    totals = re.findall(r"client (\d): (\d+) rows trained on", run.text)
    assert sorted(client for client, _ in totals) == ["1", "2"]
    assert sum(int(rows) for _, rows in totals) == 900


def alone(script: str, *args: str) -> str:
    """What an example prints that starts its servers itself."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *args],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def judge_ensemble(text: str) -> list[str]:
    members = re.findall(r"member (\d): ([\d.]+)%", text)
    assert [number for number, _ in members] == ["0", "1", "2"], text
    ensemble = float(re.search(r"ensemble of 3: ([\d.]+)%", text)[1])
    assert ensemble >= sum(float(a) for _, a in members) / 3 > 85
    return [accuracy for _, accuracy in members]


def test_both_ensembles_are_the_same_ensemble() -> None:
    run = Run("ensemble/between_graph.py", workers=3)
    assert run.to_the_end() == 0, run.text
    assert judge_ensemble(run.text) == judge_ensemble(alone("ensemble/in_graph.py"))


def test_hyperparameter_search_has_a_device_for_each_network() -> None:
    text = alone("hyperparameter_search.py")
    rows = re.findall(r"^rate (\S+) +width +(\d+) +([\d.]+)% +on (\S+)$", text, re.M)
    assert len({(rate, width) for rate, width, _, _ in rows}) == 12
    places = {f"/job:worker/task:{t}/device:CPU:{d}" for t in range(4) for d in range(3)}
    assert {device for _, _, _, device in rows} == places
    best = max(rows, key=lambda row: float(row[2]))
    assert f"best: rate {best[0]}, width {best[1]} with {best[2]}%" in text
    assert float(best[2]) > 90
