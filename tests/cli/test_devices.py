"""`flowmesh devices` with devices of all kinds, none of them real."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from flowmesh.cli import devices

DEVICES = [
    SimpleNamespace(
        name="/job:localhost/replica:0/task:0/device:CPU:0",
        device_type="CPU",
        memory_limit=256 << 20,
        physical_device_desc="",
        incarnation=11,
    ),
    SimpleNamespace(
        name="/job:localhost/replica:0/task:0/device:GPU:0",
        device_type="GPU",
        memory_limit=3 << 29,
        physical_device_desc="device: 0, name: [made up], compute capability: 9.0",
        incarnation=12,
    ),
]


@pytest.fixture(autouse=True)
def fake_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("flowmesh.runtime.device")
    module.__dict__["list_local_devices"] = lambda: DEVICES
    monkeypatch.setitem(sys.modules, "flowmesh.runtime.device", module)
    monkeypatch.setattr(devices, "machine_memory", lambda: 8 << 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.main([]) == 0
    head, cpu, gpu = capsys.readouterr().out.splitlines()
    assert head.split() == ["Device", "Type", "Memory", "Capability"]
    assert cpu.split() == [DEVICES[0].name, "CPU", "8.0", "GiB", "2", "cores"]
    assert gpu.split()[1:] == ["GPU", "1.5", "GiB", *DEVICES[1].physical_device_desc.split()]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [device.name for device in DEVICES]
    assert [row["memory_limit"] for row in rows] == [8 << 30, 3 << 29]
    assert [row["incarnation"] for row in rows] == [11, 12]


def test_simulated_gpus_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWMESH_SIMULATE_GPUS", "0")
    devices.main(["--json", "--simulate-gpus", "4"])
    assert os.environ["FLOWMESH_SIMULATE_GPUS"] == "4"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "-"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (16 << 30, "16.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert devices.format_bytes(number) == text


def test_machine_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       2048 kB\nMemFree: 1 kB\n")
    assert devices.machine_memory(file) == 2 << 20
    file.write_text("MemTotal: unknown\n")
    assert devices.machine_memory(file) == 0
    assert devices.machine_memory(tmp_path / "none") == 0
