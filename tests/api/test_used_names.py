"""Names that real TensorFlow 1 programs use: each must resolve under `import tensorflow`, as attribute or as module."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowmesh import tensorflow_alias

NAMES = Path(__file__).with_name("used_names.txt").read_text().split()
"""Counted in public programs, the commonest first."""


@pytest.fixture(autouse=True)
def alias() -> Iterator[None]:
    tensorflow_alias.install()
    yield
    tensorflow_alias.uninstall()


def found(name: str) -> Any:
    """What a program finds: an attribute, else a module of that path."""
    first, *rest = name.split(".")
    value, path = importlib.import_module(first), first
    for part in rest:
        path += f".{part}"
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(path)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_it_resolves(name: str) -> None:
    found(name)


def test_a_missing_name_says_what_there_is() -> None:
    with pytest.raises(ImportError, match=r"Flowmesh has nothing for 'tensorflow\.contrib\.nope'"):
        found("tensorflow.contrib.nope")
