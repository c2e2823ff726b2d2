"""Devices: how many, what they are called, and that nothing heavy is imported to find out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flowmesh.runtime import device as devices
from flowmesh.runtime.device import list_local_devices, make_devices, simulated_gpu_count
from tests.runtime.harness import config

NAME = "/job:worker/replica:0/task:1/device:"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("FLOWMESH_SIMULATE_GPUS", raising=False)


def test_one_cpu_by_default():
    (cpu,) = make_devices("worker", 0, 1)
    assert cpu.name == NAME + "CPU:0"
    assert cpu.device_type == "CPU"
    assert cpu.memory_limit > 0
    assert 0 < cpu.incarnation < 1 << 63
    assert not cpu.is_accelerator


def test_incarnations_differ():
    assert (
        make_devices("worker", 0, 1)[0].incarnation != make_devices("worker", 0, 1)[0].incarnation
    )


def test_logical_cpus():
    found = make_devices("worker", 0, 1, config(cpus=3))
    assert [d.name for d in found] == [f"{NAME}CPU:{i}" for i in range(3)]


def test_simulated_gpus_by_config():
    found = make_devices("worker", 0, 1, config(gpus=2))
    gpus = [d for d in found if d.device_type == "GPU"]
    assert [d.name for d in gpus] == [NAME + "GPU:0", NAME + "GPU:1"]
    assert all(d.simulated and "Simulated GPU" in d.physical_device_desc for d in gpus)
    assert not any(d.is_accelerator for d in gpus)


def test_simulated_gpus_by_environment(monkeypatch):
    monkeypatch.setenv("FLOWMESH_SIMULATE_GPUS", "4")
    assert simulated_gpu_count() == 4
    assert len(make_devices("worker", 0, 1)) == 5
    limited = config()
    limited.device_count["GPU"] = 1
    assert len(make_devices("worker", 0, 1, limited)) == 2


@pytest.mark.parametrize("text", ["many", "-1", "1000"])
def test_nonsense_counts_are_refused(monkeypatch, text):
    monkeypatch.setenv("FLOWMESH_SIMULATE_GPUS", text)
    with pytest.raises(ValueError, match=r"FLOWMESH_SIMULATE_GPUS|simulate"):
        simulated_gpu_count()


def test_local_devices_have_short_names():
    assert [d.name for d in list_local_devices(config(gpus=1))] == [
        "/device:CPU:0",
        "/device:GPU:0",
    ]


def test_no_gpu_without_device_files(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(devices.os.path, "exists", lambda path: False)
    assert not devices.gpu_present()


def test_a_gpu_without_jax_support_is_mentioned_once(monkeypatch, caplog):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(devices, "_noted", False)
    assert not devices.gpu_present()
    assert not devices.gpu_present()
    assert caplog.text.count("flowmesh[gpu]") == 1


def test_visible_devices_are_checked():
    from flowmesh.core import errors

    with pytest.raises(
        errors.InvalidArgumentError, match="invalid GPU id '7' but visible device count is 1"
    ):
        devices._check_visible("7", 1)
    with pytest.raises(errors.InvalidArgumentError, match="Could not parse entry"):
        devices._check_visible("x", 1)


PROGRAM = """
import sys
import flowmesh.ops
from flowmesh.proto import config_pb2
from flowmesh.runtime.device import make_devices, load_jax
from flowmesh.runtime.executor import Executable
config = config_pb2.ConfigProto()
config.experimental.flowmesh.simulate_gpus = 4
found = make_devices("localhost", 0, 0, config)
assert "jax" not in sys.modules
jax = load_jax()
assert jax.config.jax_enable_x64
assert len({d.jax_device() for d in found[1:]}) == 4
assert found[0].jax_device().platform == "cpu"
"""


def test_jax_comes_late_and_simulated_gpus_are_distinct():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
