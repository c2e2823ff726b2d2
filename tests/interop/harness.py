"""Processes of TensorFlow and Flowmesh: clients that run cases, and clusters. Every wait is bounded."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.ports import free_ports

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULES = {"tf115": "tensorflow", "tf2": "tensorflow.compat.v1", "flowmesh": "flowmesh"}
VARIABLES = {"tf115": "FLOWMESH_TF115", "tf2": "FLOWMESH_TF2"}
START_SECONDS = 90.0
CASE_SECONDS = 60.0


def interpreter(kind: str) -> str | None:
    """The Python that has this system installed; None where there is none."""
    if kind == "flowmesh":
        return sys.executable
    found = os.environ.get(VARIABLES[kind]) or str(ROOT / f".venv-{kind}" / "bin" / "python")
    return found if Path(found).exists() else None


def missing(kind: str) -> str:
    """Why a system cannot be run; "" when it can."""
    if interpreter(kind) is not None:
        return ""
    reason = ROOT / f".venv-{kind}.reason"
    text = reason.read_text().strip() if reason.exists() else "not installed"
    return f"{MODULES[kind]} ({kind}): {text}; `make interop` installs it, or {VARIABLES[kind]} names a Python that has it"


class Process:
    """A child that is spoken to in lines."""

    def __init__(self, kind: str, script: str, *args: str):
        python = interpreter(kind)
        assert python is not None, missing(kind)
        self.kind = kind
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by stop)
        environment = {
            k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy")
        }
        environment.update(
            TF_CPP_MIN_LOG_LEVEL="2",
            PYTHONWARNINGS="ignore",
            PYTHONPATH=str(ROOT / "src") if kind == "flowmesh" else "",
            JAX_PLATFORMS="cpu",
            CUDA_VISIBLE_DEVICES="-1",
        )
        self._child = subprocess.Popen(
            [python, "-u", str(HERE / script), MODULES[kind], *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name=f"interop {kind}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put("")

    def line(self, seconds: float) -> str:
        """The next line; TimeoutError or RuntimeError, with what the process wrote, when there is none."""
        try:
            text = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(
                f"{self.kind} gave no answer in {seconds:g} s\n{self.tail()}"
            ) from None
        if not text:
            raise RuntimeError(f"{self.kind} ended\n{self.tail()}")
        return text

    def ask(self, request: Any, seconds: float) -> Any:
        """Sends a JSON object, returns the answer."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        return json.loads(self.line(seconds))

    def tail(self, size: int = 4000) -> str:
        """The end of what the process wrote to its error output."""
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - size))
        return self.log.read()

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def stop(self) -> None:
        """Ends the process, by force: one of TensorFlow's may hang for ever when its peers are gone."""
        self._child.kill()
        self._child.wait()
        self._reader.join(5)
        for stream in (self._child.stdin, self._child.stdout, self.log):
            if stream is not None:
                stream.close()


class Client(Process):
    """Runs cases."""

    def __init__(self, kind: str):
        super().__init__(kind, "runner.py")
        self.version = json.loads(self.line(START_SECONDS))["ready"]

    def run(self, case: str, target: str, container: str, **more: Any) -> Any:
        """What the case saw; AssertionError with its traceback when it failed."""
        request = {"case": case, "target": target, "container": container, **more}
        answer = self.ask(request, CASE_SECONDS)
        if "error" in answer:
            raise AssertionError(f"{case} on {self.kind}: {answer['error']}")
        return answer["value"]


class Cluster:
    """One ps and one worker, of these kinds."""

    def __init__(self, ps: str, worker: str):
        ports = free_ports(2)
        spec = {"ps": [f"localhost:{ports[0]}"], "worker": [f"localhost:{ports[1]}"]}
        self.targets = {job: f"grpc://{addresses[0]}" for job, addresses in spec.items()}
        self._servers: list[Process] = []
        try:
            for job, kind in (("ps", ps), ("worker", worker)):
                self._servers.append(Process(kind, "server.py", json.dumps(spec), job, "0"))
            for server in self._servers:
                server.line(START_SECONDS)
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        return all(server.alive for server in self._servers)

    def log(self) -> str:
        """The end of what the servers wrote."""
        return "\n".join(f"-- server {s.kind}:\n{s.tail(1500)}" for s in self._servers)

    def stop(self) -> None:
        """Ends the servers."""
        for server in self._servers:
            server.stop()
