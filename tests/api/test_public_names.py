"""The public surface is an explicit list: what is exported stands in public_names.txt, line by line.

After a deliberate change: `python tests/api/test_public_names.py > tests/api/public_names.txt`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import flowmesh as tf
from flowmesh.api import root

GOLDEN = Path(__file__).with_name("public_names.txt")


def exported(module: ModuleType, prefix: str) -> list[str]:
    names = getattr(module, "__all__", None) or [
        n
        for n, v in vars(module).items()
        if not n.startswith("_") and n != "annotations" and n != "Any"
    ]
    found = []
    for name in names:
        value = getattr(module, name)
        if inspect.ismodule(value):
            if value.__name__.startswith("flowmesh.api."):
                found.extend(exported(value, f"{prefix}{name}."))
        else:
            found.append(prefix + name)
    return found


def public_names() -> list[str]:
    return sorted(set(exported(root, "")))


def test_public_names_are_as_listed() -> None:
    listed = GOLDEN.read_text().split()
    now = public_names()
    assert sorted(set(listed) - set(now)) == [], "names have gone"
    assert sorted(set(now) - set(listed)) == [], "names are new: list them"


def test_every_public_name_is_reachable_and_documented() -> None:
    undocumented = []
    for name in public_names():
        value = tf
        for part in name.split("."):
            value = getattr(value, part)
        if (inspect.isfunction(value) or inspect.isclass(value)) and not inspect.getdoc(value):
            undocumented.append(name)
    # protobuf messages are described by their .proto texts
    undocumented = [n for n in undocumented if not hasattr(getattr_path(n), "DESCRIPTOR")]
    assert undocumented == []


def getattr_path(name: str) -> object:
    value: object = tf
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_unknown_names_raise_attribute_error() -> None:
    assert not hasattr(tf, "no_such_name")


if __name__ == "__main__":
    print("\n".join(public_names()))
