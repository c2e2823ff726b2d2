"""`flowmesh serve`: finding its place in the cluster, and serving until told to stop."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowmesh.cli import serve
from flowmesh.cli.serve import BadSpecError, Place, find_place
from tests.cli.commands import ENV, MAIN

CLUSTER = {"ps": ["localhost:2222"], "worker": ["localhost:2223", "localhost:2224"]}
TEXT = json.dumps(CLUSTER)


def config(cluster: Any = CLUSTER, **task: Any) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_the_specification_is_text_or_a_file_or_the_environments(tmp_path: Path) -> None:
    place = Place(CLUSTER, "worker", 1)
    assert find_place(TEXT, "worker", 1, {}) == place
    file = tmp_path / "cluster.json"
    file.write_text(TEXT)
    assert find_place(str(file), "worker", 1, {}) == place
    assert find_place(json.dumps({"cluster": CLUSTER}), "worker", 1, {}) == place
    assert find_place(None, None, None, config(type="worker", index=1)) == place
    assert find_place(None, None, None, config(type="worker", index="1")) == place
    assert find_place(None, "worker", None, config(type="ps", index=1)) == place
    assert find_place(TEXT, "worker", 1, {"TF_CONFIG": "not JSON, not needed"}) == place


def test_a_sparse_job_is_indexed_by_number() -> None:
    sparse = {"worker": {"3": "a:1", "7": "b:2"}}
    place = find_place(json.dumps(sparse), "worker", 7, {})
    assert place == Place({"worker": {3: "a:1", 7: "b:2"}}, "worker", 7)
    with pytest.raises(BadSpecError, match="job 'worker' has no task 0: its tasks are 3, 7"):
        find_place(json.dumps(sparse), "worker", 0, {})


@pytest.mark.parametrize(
    ("cluster", "job", "task", "environ", "message"),
    [
        (None, None, None, {}, "no cluster: give --cluster SPEC or set TF_CONFIG"),
        (TEXT, None, 0, {}, "no --job, and TF_CONFIG does not tell it"),
        (TEXT, "ps", None, {}, "no --task, and"),
        (TEXT, "boss", 0, {}, "no job 'boss': its jobs are ps, worker"),
        (TEXT, "worker", 2, {}, "no task 2: its tasks are 0, 1"),
        (None, None, None, config(type="ps", index=True), "no task True"),
        (None, None, None, config(type="ps", index="x"), "no task 'x'"),
        ("{", "ps", 0, {}, "--cluster is not JSON: "),
        ("nowhere.json", "ps", 0, {}, "neither a JSON object nor a file: 'nowhere.json'"),
        ("/", "ps", 0, {}, "Is a directory"),
        ("{}", "ps", 0, {}, "names no job; it looks like"),
        ('{"ps": "a:1"}', "ps", 0, {}, "job 'ps' is not a list of addresses: 'a:1'"),
        ('{"ps": ["a"]}', "ps", 0, {}, "'a' is not host:port"),
        ('{"ps": ["a:0"]}', "ps", 0, {}, "'a:0' is not host:port"),
        ('{"ps": ["a:99999"]}', "ps", 0, {}, "'a:99999' is not host:port"),
        ('{"ps": [7]}', "ps", 0, {}, "7 is not host:port"),
        ('{"ps": {"x": "a:1"}}', "ps", 0, {}, "job 'ps' is not a list"),
        (None, None, None, {"TF_CONFIG": "nonsense"}, "TF_CONFIG is not JSON"),
        (None, None, None, {"TF_CONFIG": "[1]"}, "TF_CONFIG is not a JSON object"),
        (None, None, None, {"TF_CONFIG": f'{{"cluster": {TEXT}, "task": 1}}'}, "is not an object"),
    ],
)
def test_bad_specifications_are_one_clear_line(
    cluster: str | None,
    job: str | None,
    task: int | None,
    environ: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(BadSpecError, match=re.escape(message)):
        find_place(cluster, job, task, environ)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    words = [("--cluster", cluster), ("--job", job), ("--task", task)]
    argv = [str(word) for pair in words if pair[1] is not None for word in pair]
    assert serve.main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("flowmesh serve: ")
    assert shown.err.count("\n") == 1


# A server that writes down what happens to it, in place of the real one.
FAKE = """
import sys, threading, types
class Server:
    def __init__(self, cluster, job_name=None, task_index=None, protocol=None):
        if protocol != "grpc":
            raise ValueError(f"no protocol\\n{protocol!r}")
        self.target = "grpc://" + cluster[job_name][task_index]
    def join(self):
        HOW_TO_JOIN
    def stop(self, grace=None):
        print("stopped with", grace, flush=True)
module = types.ModuleType("flowmesh.distributed.server")
module.Server = Server
sys.modules["flowmesh.distributed.server"] = module
"""
FOREVER = FAKE.replace("HOW_TO_JOIN", "threading.Event().wait()")


def start(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code + MAIN, "serve", "--cluster", TEXT, "--job", "ps", *words],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_its_address_and_stops_cleanly(number: signal.Signals) -> None:
    with start(FOREVER, "--task", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flowmesh: ps/0 serves at grpc://localhost:2222\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (out, err, process.returncode) == ("stopped with 2.0\n", "", 0)


def test_a_server_that_ends_by_itself_ends_the_command() -> None:
    with start(FAKE.replace("HOW_TO_JOIN", "return"), "--task", "0") as process:
        out, err = process.communicate(timeout=30)
        assert (out.count("\n"), err, process.returncode) == (1, "", 0)


def test_what_keeps_a_server_from_starting_is_one_line() -> None:
    with start(FOREVER, "--task", "0", "--protocol", "pigeon") as process:
        out, err = process.communicate(timeout=30)
        assert (out, process.returncode) == ("", 1)
        assert err == "flowmesh serve: cannot serve ps/0: no protocol 'pigeon'\n"
