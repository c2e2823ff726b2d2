"""``flowmesh devices``: what this machine can compute on, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowmesh.cli.program import SIMULATE_GPUS, add_simulate_gpus

_MEMINFO = Path("/proc/meminfo")
_NOMINAL_LIMIT = 256 << 20  # what TensorFlow reports as the memory of every CPU device


def main(argv: Sequence[str]) -> int:
    """Print the devices."""
    options = _parser().parse_args(argv)
    if options.simulate_gpus is not None:
        os.environ[SIMULATE_GPUS] = str(options.simulate_gpus)
    rows = describe()
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows)
    return 0


def describe() -> list[dict[str, Any]]:
    """One row per device, with TensorFlow's names for its columns."""
    from flowmesh.runtime.device import list_local_devices  # imports JAX: not before needed

    return [_row(device) for device in list_local_devices()]


def _row(device: Any) -> dict[str, Any]:
    memory = int(device.memory_limit or 0)
    if device.device_type == "CPU" and memory in (0, _NOMINAL_LIMIT):
        memory = machine_memory() or memory
    description = device.physical_device_desc or ""
    return {
        "name": str(device.name),
        "device_type": device.device_type,
        "memory_limit": memory,
        "physical_device_desc": description or _cpu_description(device.device_type),
        "incarnation": int(device.incarnation),
    }


def machine_memory(meminfo: Path = _MEMINFO) -> int:
    """This machine's memory in bytes; 0 where the system does not tell."""
    try:
        for line in meminfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "MemTotal":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _cpu_description(device_type: str) -> str:
    if device_type != "CPU":
        return ""
    cores = os.cpu_count() or 1
    return f"{cores} core{'s' if cores != 1 else ''}"


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Device", no_wrap=True)
    table.add_column("Type")
    table.add_column("Memory", justify="right", no_wrap=True)
    table.add_column("Capability")
    for row in rows:
        table.add_row(
            row["name"],
            row["device_type"],
            format_bytes(row["memory_limit"]),
            row["physical_device_desc"] or "-",
        )
    # A pipe has no width: let no cell be cut in what another program reads.
    Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)


def format_bytes(number: int) -> str:
    """A size as people read it: 15.6 GiB."""
    if number <= 0:
        return "-"
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh devices",
        description="List this machine's devices with their memory and capability.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_simulate_gpus(parser)
    return parser
