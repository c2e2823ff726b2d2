"""The peers: where their Python is, and how their environments are made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowmesh-benchmarks"
CHECKOUT = Path(__file__).resolve().parents[1]
CHILD = str(Path(__file__).parent / "child.py")
INSTALL_SECONDS = 1200


@dataclass(frozen=True)
class Side:
    """One side of a comparison: how to start a process in which `api` is the thing measured."""

    name: str
    title: str
    command: tuple[str, ...]
    api: str = "tf"
    """Which of a row's programs it runs: "tf" (`import tensorflow as tf`), "jax" or "torch"."""


@dataclass(frozen=True)
class Recipe:
    """How a peer's environment is made."""

    title: str
    python: str
    packages: tuple[str, ...]
    variable: str
    """Names the Python of an environment that is there already."""
    module: str = "tensorflow"
    api: str = "tf"


RECIPES = {
    "tf115": Recipe(
        "TensorFlow 1.15.5",
        "3.7",
        ("tensorflow==1.15.5", "protobuf<3.21", "numpy<1.19"),
        "FLOWMESH_TF115",
    ),
    "tf2": Recipe(
        "TensorFlow 2.21 (tf.compat.v1)",
        "3.11",
        ("tensorflow-cpu==2.21.*",),
        "FLOWMESH_TF2",
    ),
    "torch": Recipe(
        "PyTorch 2.13 (CPU)",
        "3.11",
        ("torch==2.13.0", "numpy"),
        "FLOWMESH_TORCH",
        "torch",
        "torch",
    ),
}
NAMES = (*RECIPES, "jax")


def flowmesh() -> Side:
    """This checkout."""
    return Side("flowmesh", "Flowmesh", (sys.executable, "-m", "flowmesh", "run", CHILD))


def plain_jax() -> Side:
    """Hand-written JAX, in the environment of this checkout."""
    return Side("jax", "plain JAX", (sys.executable, CHILD), "jax")


def set_up(name: str) -> Side | None:
    """The peer `name`, installed on first use; None, with a line that says why, when it cannot be had.

    The environment variable FLOWMESH_TF115, FLOWMESH_TF2 or FLOWMESH_TORCH may name the Python of an environment that is there already.
    """
    if name == "jax":
        return plain_jax()
    recipe = RECIPES[name]
    python = os.environ.get(recipe.variable)
    if python is None:
        python = _from_interop(name) or _install(name, recipe)
    elif not _works(python, f"import {recipe.module}"):
        print(f"{recipe.title} is skipped: {recipe.variable}={python} cannot import it")
        python = None
    if python is None:
        return None
    return Side(name, recipe.title, (python, "-W", "ignore", CHILD), recipe.api)


def _from_interop(name: str) -> str | None:
    """The Python of the environment that `make interop` has made, if it has."""
    folder = CHECKOUT / f".venv-{name}"
    return str(folder / "bin" / "python") if (folder / ".ready").exists() else None


def _install(name: str, recipe: Recipe) -> str | None:
    folder = CACHE / name
    python = folder / "bin" / "python"
    if (folder / ".done").exists():
        return str(python)
    base = next(filter(_works, _pythons(recipe.python)), None)
    if base is None:
        print(f"{recipe.title} is skipped: there is no Python {recipe.python} on this machine")
        return None
    print(f"installing {recipe.title} into {folder} ...", flush=True)
    for step in (
        [base, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "-U", "pip"],
        [str(python), "-m", "pip", "install", "-q", *recipe.packages],
        [str(python), "-c", f"import {recipe.module}"],
    ):
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
            )
            error = done.stderr.strip()[-500:] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as problem:
            error = str(problem)
        if error:
            print(f"{recipe.title} is skipped: {' '.join(step)} failed:\n{error}")
            return None
    (folder / ".done").touch()
    return str(python)


def _pythons(version: str) -> list[str]:
    """Where a Python of this version may be."""
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python"))
    own = [sys.executable] if version == ".".join(map(str, sys.version_info[:2])) else []
    return [*([found] if found else []), *map(str, installed), *own]


def _works(python: str, program: str = "") -> bool:
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
