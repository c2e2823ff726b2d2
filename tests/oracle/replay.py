"""Replays the recorded programs on Flowmesh and tells how they differ from TensorFlow 1.15."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flowmesh
from tests.oracle import programs

_FOLDER = Path(__file__).parent


def recorded(area: str) -> dict[str, Any]:
    """What TensorFlow did with each program of an area."""
    return json.loads((_FOLDER / f"{area}.json").read_text())


def cases(area: str) -> list[str]:
    """The names of an area's programs."""
    return list(recorded(area))


def differences(area: str, case: str) -> list[str]:
    """One line for each place where Flowmesh built or returned something else."""
    expected = recorded(area)[case]
    found = json.loads(json.dumps(programs.run(flowmesh, programs.load(area)[case])))
    lines: list[str] = []
    for nodes in (expected["nodes"], found["nodes"]):
        _number_functions(nodes)
    _compare_nodes(expected["nodes"], found["nodes"], lines)
    _compare("out", expected["out"], found["out"], lines)
    return lines


def _number_functions(nodes: list[Any]) -> None:
    """Tokens of Python functions are counted by the process: count them by the program instead."""
    names: dict[str, str] = {}
    for node in nodes:
        token = node.get("attr", {}).get("token")
        if node["op"] in ("PyFunc", "PyFuncStateless", "EagerPyFunc") and token:
            token["s"] = names.setdefault(token["s"], f"pyfunc_{len(names)}")


def _compare_nodes(expected: list[Any], found: list[Any], lines: list[str]) -> None:
    if any(
        "Switch" in n["op"] for n in expected
    ):  # a Switch may come before the node that it was made for
        expected, found = (sorted(ns, key=lambda n: n["name"]) for ns in (expected, found))
    for i, (a, b) in enumerate(zip(expected, found, strict=False)):
        if a["name"] != b["name"]:
            lines.append(f"node {i}: {a['name']} ({a['op']}) expected, not {b['name']} ({b['op']})")
            missing = [n["name"] for n in expected if n["name"] not in {m["name"] for m in found}]
            extra = [n["name"] for n in found if n["name"] not in {m["name"] for m in expected}]
            lines.append(f"nodes missing: {missing[:20]}; too many: {extra[:20]}")
            break
        _compare(a["name"], a, b, lines)
    if len(expected) != len(found):
        lines.append(f"{len(expected)} nodes expected, not {len(found)}")


def _compare(path: str, a: Any, b: Any, lines: list[str]) -> None:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            _compare(f"{path}.{key}", a[key], b[key], lines)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(f"{path}[{i}]", x, y, lines)
    elif a != b:
        lines.append(f"{path}:\n   TF       {a!r}\n   Flowmesh {b!r}")
