"""Cluster specifications and addresses."""

from types import SimpleNamespace
from typing import Any

import pytest

from flowmesh.core.cluster_spec import ClusterSpec, join_address, split_address

TYPE_MESSAGE = (
    "`cluster` must be a dictionary mapping one or more job names to lists of network addresses, "
    "or a `ClusterDef` protocol buffer"
)


def test_dense() -> None:
    spec = ClusterSpec({"worker": ["b:2", "c:3"], "ps": ("a:1",)})
    assert spec.jobs == ["worker", "ps"]
    assert spec.num_tasks("worker") == 2
    assert spec.task_indices("worker") == [0, 1]
    assert spec.task_address("worker", 1) == "c:3"
    assert spec.job_tasks("worker") == ["b:2", "c:3"]
    assert spec.as_dict() == {"worker": ["b:2", "c:3"], "ps": ["a:1"]}
    assert repr(spec) == str(spec) == "ClusterSpec({'ps': ['a:1'], 'worker': ['b:2', 'c:3']})"


def test_sparse() -> None:
    spec = ClusterSpec({"w": {3: "b:2", 1: "a:1"}})
    assert spec.num_tasks("w") == 2
    assert spec.task_indices("w") == [1, 3]
    assert spec.job_tasks("w") == [None, "a:1", None, "b:2"]
    assert spec.as_dict() == {"w": {1: "a:1", 3: "b:2"}}
    assert str(spec) == "ClusterSpec({'w': {1: 'a:1', 3: 'b:2'}})"
    assert ClusterSpec({"w": {1: "b", 0: "a"}}).as_dict() == {"w": ["a", "b"]}


def test_empty() -> None:
    assert not ClusterSpec({})
    assert ClusterSpec({"w": []})
    assert ClusterSpec({"w": []}).as_dict() == {"w": {}}
    assert ClusterSpec({"w": []}).job_tasks("w") == []


def test_other_sources() -> None:
    jobs = [SimpleNamespace(name="w", tasks={0: "a"}), SimpleNamespace(name="ps", tasks={2: "b"})]
    expected = {"w": ["a"], "ps": {2: "b"}}
    assert ClusterSpec(SimpleNamespace(job=jobs)).as_dict() == expected
    assert ClusterSpec(jobs).as_dict() == expected
    assert ClusterSpec(ClusterSpec(jobs)).as_dict() == expected
    assert ClusterSpec({b"w": [b"a:1"]}).as_dict() == {"w": ["a:1"]}


def test_equality() -> None:
    spec = ClusterSpec({"w": ["a"], "ps": ["b"]})
    same = ClusterSpec({"ps": {0: "b"}, "w": {0: "a"}})
    assert spec == same and (spec != same) is False and hash(spec) == hash(same)
    assert spec != ClusterSpec({"w": ["a"]})
    assert spec != {"w": ["a"], "ps": ["b"]}


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (5, TYPE_MESSAGE),
        (None, TYPE_MESSAGE),
        ([], TYPE_MESSAGE),
        (["a:1"], TYPE_MESSAGE),
        ("a:1", TYPE_MESSAGE),
        (
            {"w": "a:1"},
            "The tasks for job 'w' must be a list or a dictionary from integers to strings.",
        ),
        (
            {"w": 5},
            "The tasks for job 'w' must be a list or a dictionary from integers to strings.",
        ),
        ({"w": [5]}, "Task address 5 must be bytes or unicode"),
        ({"w": ["a:1", None]}, "Task address None must be bytes or unicode"),
        ({"w": {"a": "b"}}, "'a' has type str, but expected one of: int"),
        ({5: ["a:1"]}, "Job name 5 must be bytes or unicode"),
    ],
)
def test_refused(cluster: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        ClusterSpec(cluster)
    assert str(caught.value) == message


def test_missing() -> None:
    spec = ClusterSpec({"w": ["a:1"]})
    with pytest.raises(ValueError, match=r"^No task with index 2 in job 'w'$"):
        spec.task_address("w", 2)
    for call in (spec.num_tasks, spec.task_indices, spec.job_tasks):
        with pytest.raises(ValueError, match=r"^No such job in cluster: 'q'$"):
            call("q")
    with pytest.raises(ValueError, match=r"^No such job in cluster: 'q'$"):
        spec.task_address("q", 0)


def test_as_cluster_def_round_trip() -> None:
    spec = ClusterSpec({"w": ["a:1", "b:2"], "ps": {3: "c:3"}})
    assert ClusterSpec(spec.as_cluster_def()) == spec


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("localhost:2222", "localhost", 2222),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("[::1]:2222", "::1", 2222),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_split_address(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("localhost", "expected 'host:port'"),
        (":2222", "expected 'host:port'"),
        ("", "expected 'host:port'"),
        ("[]:2222", "expected 'host:port'"),
        ("::1:2222", "an IPv6 host stands in brackets"),
        ("[::1]", "an IPv6 host stands in brackets"),
        ("host:", "the port must be a number"),
        ("host:http", "the port must be a number"),
        ("host:-1", "the port must be a number"),
        ("host:70000", "the port must be a number"),
    ],
)
def test_split_address_refuses(address: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        split_address(address)
    assert repr(address) in str(caught.value)
