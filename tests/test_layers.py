"""The layer order of ARCHITECTURE.md holds: imports point down, siblings do not import each other, there is no cycle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "flowmesh"
MAX_FILE_LINES = 700
MAX_LONG_FILES = 0.1
LONG_FILE = 500
MAX_FUNCTION_LINES = 60


def layers() -> dict[str, int]:
    """Folder (or file) name -> layer number, read from the table in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text.split("## Layers", 1)[1].split("```")[1]
    table: dict[str, int] = {}
    for line in block.splitlines():
        number, *columns = re.split(r"\s{2,}", line.strip())
        if number.isdigit():
            for name in " ".join(columns[:-1]).split():
                table[name.strip("/")] = int(number)
    return table


def python_files() -> list[Path]:
    return [p for p in sorted(SOURCE.rglob("*.py")) if not p.name.endswith("_pb2.py")]


def module_name(path: Path) -> str:
    parts = ("flowmesh", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """The modules of the package that a file imports at run time, those inside functions included."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(n for child in node.body for n in ast.walk(child))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "flowmesh":
                    yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module.split(".")[0] != "flowmesh":
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module


def layer_of(module: str, table: dict[str, int]) -> tuple[str, int]:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__.py"
    for key in (name, f"{name}.py"):
        if key in table:
            return key, table[key]
    raise AssertionError(
        f"{module} stands in no layer: add {name}/ to the table in ARCHITECTURE.md"
    )


def graph() -> dict[str, set[str]]:
    files = {module_name(p): p for p in python_files()}
    known = set(files)
    return {name: {i for i in imports(path, known) if i in known} for name, path in files.items()}


def test_imports_point_down() -> None:
    table = layers()
    assert table["proto"] == 0 and table["core"] == 1 and table["api"] == 10
    wrong = []
    for module, targets in graph().items():
        folder, level = layer_of(module, table)
        for target in targets:
            other, other_level = layer_of(target, table)
            if other != folder and other_level >= level and level != 10:
                wrong.append(
                    f"{module} ({folder}, {level}) imports {target} ({other}, {other_level})"
                )
    assert not wrong, "\n".join(wrong)


def test_there_is_no_import_cycle() -> None:
    edges = graph()
    state: dict[str, int] = {}
    cycles: list[str] = []

    def visit(module: str, path: list[str]) -> None:
        state[module] = 1
        for target in sorted(edges[module]):
            if state.get(target) == 1:
                cycles.append(" -> ".join([*path[path.index(target) :], target]))
            elif target not in state:
                visit(target, [*path, target])
        state[module] = 2

    for module in sorted(edges):
        if module not in state:
            visit(module, [module])
    assert not cycles, "\n".join(cycles)


def test_files_stay_small() -> None:
    sizes = {p.relative_to(SOURCE): len(p.read_text().splitlines()) for p in python_files()}
    too_long = {str(p): n for p, n in sizes.items() if n > MAX_FILE_LINES}
    assert not too_long, too_long
    long = [str(p) for p, n in sizes.items() if n > LONG_FILE]
    assert len(long) <= MAX_LONG_FILES * len(sizes), long


def test_functions_stay_small() -> None:
    long = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(SOURCE)}:{node.lineno} {node.name} {length}")
    assert not long, "\n".join(long)


def test_jax_is_imported_only_where_kernels_run() -> None:
    allowed = {"ops", "runtime"}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(n.split(".")[0] in ("jax", "jaxlib") for n in names):
                assert path.relative_to(SOURCE).parts[0] in allowed, path
            if any(n.split(".")[0] == "grpc" for n in names):
                assert path.parent.name == "transport", path
