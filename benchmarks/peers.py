"""The peers: where their Python is, and how their environments are made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowmesh-benchmarks"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: how to start a process in which `import tensorflow as tf` is the thing measured."""

    name: str
    title: str
    command: tuple[str, ...]
    options: tuple[str, ...] = ()
    """What follows the name of the row."""


@dataclass(frozen=True)
class Recipe:
    """How a peer's environment is made."""

    title: str
    pythons: tuple[str, ...]
    packages: tuple[str, ...]
    variable: str


RECIPES = {
    "tf115": Recipe(
        "TensorFlow 1.15.5",
        ("python3.7", str(Path.home() / ".pyenv/versions/3.7.16/bin/python")),
        ("tensorflow==1.15.5", "protobuf<3.21"),
        "FLOWMESH_BENCH_TF115",
    ),
    "tf2": Recipe(
        "TensorFlow 2.21 (tf.compat.v1)",
        ("python3.11",),
        ("tensorflow-cpu==2.21.*",),
        "FLOWMESH_BENCH_TF2",
    ),
}


def flowmesh() -> Side:
    """This checkout."""
    child = str(Path(__file__).parent / "child.py")
    return Side("flowmesh", "Flowmesh", (sys.executable, "-m", "flowmesh", "run", child))


def plain_jax() -> Side:
    """Hand-written JAX, in the environment of this checkout."""
    child = str(Path(__file__).parent / "child.py")
    return Side("jax", "plain JAX", (sys.executable, child), ("jax",))


def set_up(name: str) -> Side | None:
    """The peer `name`, installed on first use; None, with a line that says why, when it cannot be had.

    The environment variable FLOWMESH_BENCH_TF115 (or _TF2) may name the Python of an environment that is there already.
    """
    if name == "jax":
        return plain_jax()
    recipe = RECIPES[name]
    python = os.environ.get(recipe.variable)
    if python is None:
        python = _install(name, recipe)
    if python is None:
        return None
    return Side(
        name, recipe.title, (python, "-W", "ignore", str(Path(__file__).parent / "child.py"))
    )


def _install(name: str, recipe: Recipe) -> str | None:
    folder = CACHE / name
    python = folder / "bin" / "python"
    if (folder / ".done").exists():
        return str(python)
    base = next((p for p in map(shutil.which, recipe.pythons) if p and _works(p)), None)
    if base is None:
        print(f"{recipe.title} is skipped: none of {', '.join(recipe.pythons)} is on this machine")
        return None
    print(f"installing {recipe.title} into {folder} ...", flush=True)
    steps = [
        [base, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "-U", "pip"],
        [str(python), "-m", "pip", "install", "-q", *recipe.packages],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{recipe.title} is skipped: {' '.join(step)} failed:\n{done.stderr[-500:]}")
            return None
    (folder / ".done").touch()
    return str(python)


def _works(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
