"""Device names."""

import copy
from types import SimpleNamespace

import pytest

from flowmesh.core import device_spec
from flowmesh.core.device_spec import DeviceSpec


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("/cpu:0", "/device:CPU:0"),
        ("/gpu:1", "/device:GPU:1"),
        ("gpu:1", "/device:GPU:1"),
        ("gpu", "/device:GPU:*"),
        ("/Cpu:0", "/device:CPU:0"),
        ("/CPU:01", "/device:CPU:1"),
        ("/gpu:*", "/device:GPU:*"),
        ("/device:GPU:1", "/device:GPU:1"),
        ("/device:gpu:1", "/device:GPU:1"),
        ("/device:GPU", "/device:GPU:*"),
        ("/device:GPU:*", "/device:GPU:*"),
        ("/device:XLA_GPU:0", "/device:XLA_GPU:0"),
        ("/device:Foo:3", "/device:Foo:3"),
        ("/job:ps/task:0/cpu:0", "/job:ps/task:0/device:CPU:0"),
        ("job:a/task:1", "/job:a/task:1"),
        ("/task:1/job:a", "/job:a/task:1"),
        ("/job:a/job:b", "/job:b"),
        ("/job:*/replica:*/task:*/device:*:*", ""),
        ("/job:w/replica:0/task:1/device:GPU:0", "/job:w/replica:0/task:1/device:GPU:0"),
    ],
)
def test_canonical(name: str, expected: str) -> None:
    assert device_spec.canonical_name(name) == expected
    assert DeviceSpec.from_string(name).to_string() == expected
    assert DeviceSpec(job="x").parse_from_string(name).to_string() == expected
    assert device_spec.canonical_name(DeviceSpec.from_string(name)) == expected
    assert device_spec.canonical_name(expected) == expected


def test_canonical_none() -> None:
    assert device_spec.canonical_name(None) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/foo:0", "Unknown attribute: 'foo' in '/foo:0'"),
        ("/foo", "Unknown attribute: 'foo' in '/foo'"),
        ("/job", "Unknown attribute: 'job' in '/job'"),
        ("/job:a:b", "Unknown attribute: 'job' in '/job:a:b'"),
        ("/Job:a", "Unknown attribute: 'Job' in '/Job:a'"),
        ("/device", "Unknown attribute: 'device' in '/device'"),
        ("/device:A:1:2", "Unknown attribute: 'device' in '/device:A:1:2'"),
        ("/cpu:0:1", "Unknown attribute: 'cpu' in '/cpu:0:1'"),
        ("/tpu:0", "Unknown attribute: 'tpu' in '/tpu:0'"),
        ("/cpu:0/gpu:1", "Cannot specify multiple device types: /cpu:0/gpu:1"),
        ("/cpu:0/device:GPU:1", "Cannot specify multiple device types: /cpu:0/device:GPU:1"),
        ("/task:a", "Malformed device specification '/task:a': 'a' is not a number"),
        ("/task:-1", "Malformed device specification '/task:-1': '-1' is not a number"),
        ("/gpu:", "Malformed device specification '/gpu:': '' is not a number"),
        ("/job:", "Malformed device specification '/job:': a name is missing"),
        ("/device::0", "Malformed device specification '/device::0': a name is missing"),
    ],
)
def test_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        DeviceSpec.from_string(name)
    assert str(caught.value) == message


def test_spec_parts() -> None:
    spec = DeviceSpec(job="a", replica=0, task="3", device_type="gpu", device_index="2")  # type: ignore[arg-type]
    assert (spec.job, spec.replica, spec.task) == ("a", 0, 3)
    assert (spec.device_type, spec.device_index) == ("GPU", 2)
    assert spec.to_string() == "/job:a/replica:0/task:3/device:GPU:2"
    assert spec == DeviceSpec.from_string("/job:a/replica:0/task:3/gpu:2") == copy.deepcopy(spec)
    assert hash(spec) == hash(copy.copy(spec))
    assert spec != "/job:a/replica:0/task:3/device:GPU:2"
    spec.device_type, spec.task = None, None
    assert spec.to_string() == "/job:a/replica:0"
    assert spec.replace(job="b", task=1).to_string() == "/job:b/replica:0/task:1"
    assert repr(spec) == "DeviceSpec('/job:a/replica:0')"


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("/job:a/gpu:1", "/job:b", "/job:b/device:GPU:1"),
        ("/gpu:1", "/device:CPU:*", "/device:CPU:1"),
        ("/gpu:1", "/job:b/cpu:0", "/job:b/device:CPU:0"),
        ("", "/cpu:0", "/device:CPU:0"),
        ("/job:a", "", "/job:a"),
    ],
)
def test_merge(outer: str, inner: str, expected: str) -> None:
    assert device_spec.merge_names(outer, inner) == expected
    spec = DeviceSpec.from_string(outer)
    assert spec.make_merged_spec(DeviceSpec.from_string(inner)).to_string() == expected
    assert device_spec.merge_device(spec)(SimpleNamespace(device=inner)).to_string() == expected
    assert device_spec.merge_device(outer)(SimpleNamespace(device=inner)).to_string() == expected
    assert spec == DeviceSpec.from_string(outer)
    spec.merge_from(DeviceSpec.from_string(inner))
    assert spec.to_string() == expected


def test_full_names() -> None:
    full = device_spec.full_name("ps", 1, "cpu", 0)
    assert full == "/job:ps/replica:0/task:1/device:CPU:0"
    assert device_spec.full_name("ps", 1, "GPU", 2, replica=3) == (
        "/job:ps/replica:3/task:1/device:GPU:2"
    )
    assert device_spec.is_full(full)
    assert not device_spec.is_full("/job:ps/task:1/cpu:0")
    assert device_spec.task_name(full) == "/job:ps/replica:0/task:1"
    assert device_spec.task_name("/job:ps/task:1") == "/job:ps/replica:0/task:1"
    with pytest.raises(ValueError, match="'/job:ps/cpu:0' does not name a task"):
        device_spec.task_name("/job:ps/cpu:0")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", True),
        ("/job:ps", True),
        ("/job:ps/task:1/cpu:0", True),
        ("/cpu:*", True),
        ("/gpu:0", False),
        ("/job:worker", False),
        ("/task:0", False),
        ("/cpu:1", False),
    ],
)
def test_matches(spec: str, expected: bool) -> None:
    assert device_spec.matches(spec, "/job:ps/replica:0/task:1/device:CPU:0") is expected
