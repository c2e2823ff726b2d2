"""``flowmesh run``: run a script as ``__main__`` with ``import tensorflow`` meaning Flowmesh."""

from __future__ import annotations

import argparse
import builtins
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType, TracebackType

from flowmesh import tensorflow_alias
from flowmesh.cli.program import (
    FORMS,
    SIMULATE_GPUS,
    Program,
    add_simulate_gpus,
    parse_with_program as parse,
)

_kept: list[ModuleType | None] = []  # the modules that were __main__: their globals stay alive


class CannotRunError(Exception):
    """The program cannot be started: the message says why in one line."""


def main(argv: Sequence[str]) -> int:
    """Run the program. Its SystemExit passes through; what else it raises is printed."""
    options, program = parse(_parser(), argv)
    if options.simulate_gpus is not None:
        os.environ[SIMULATE_GPUS] = str(options.simulate_gpus)
    tensorflow_alias.install()
    try:
        code, module = prepare(program)
    except SyntaxError as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        return 1
    except CannotRunError as error:
        print(f"flowmesh run: {error}", file=sys.stderr)
        return 2
    return _execute(code, module)


def prepare(program: Program) -> tuple[CodeType, ModuleType]:
    """Compile the program and set ``sys.argv`` and ``sys.path[0]`` as Python itself would."""
    if program.kind == "script":
        path = program.target
        _enter(path, _folder(path), program)
        if os.path.isdir(path):
            path = os.path.join(path, "__main__.py")
        path = os.path.abspath(path)
        code = compile(_read(path), path, "exec", dont_inherit=True)
        module = _main_module(path)
        module.__loader__ = SourceFileLoader("__main__", path)
        return code, module
    if program.kind == "code":
        _enter("-c", "", program)
        code = compile(program.target, "<string>", "exec", dont_inherit=True)
        return code, _main_module(None)
    _enter("-m", os.getcwd(), program)
    return _load_module(program.target)


def _execute(code: CodeType, module: ModuleType) -> int:
    """Run `code` as ``__main__`` and print what it raises without the frames of this file."""
    _kept.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _users_part(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _enter(name: str, folder: str, program: Program) -> None:
    sys.argv = [name, *program.arguments]
    if sys.flags.safe_path:  # then Python put no folder of its own there
        sys.path.insert(0, folder)
    else:
        sys.path[0:1] = [folder]


def _folder(path: str) -> str:
    real = os.path.realpath(path)
    return real if os.path.isdir(real) else os.path.dirname(real)


def _read(path: str) -> bytes:
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        raise CannotRunError(f"cannot read {path!r}: {error.strerror}") from None


def _main_module(path: str | None) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __annotations__={}, __spec__=None)
    if path is not None:
        module.__dict__.update(__file__=path, __cached__=None)
    return module


def _load_module(name: str) -> tuple[CodeType, ModuleType]:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError) as error:
        raise CannotRunError(f"no module named {name!r}: {error}") from None
    if spec is None:
        raise CannotRunError(f"no module named {name!r}")
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if code is None:
        raise CannotRunError(f"module {name!r} has no Python code to run")
    module = _main_module(spec.origin)
    module.__dict__.update(
        __spec__=spec, __loader__=spec.loader, __package__=spec.parent, __cached__=spec.cached
    )
    sys.argv[0] = spec.origin or name
    return code, module


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmesh run",
        usage=f"flowmesh run [--simulate-gpus N] {FORMS} [ARGS...]",
        description="Run a Python program. In it, and in all that it imports, `import tensorflow` "
        "(and the module paths below it) mean Flowmesh. ARGS are the program's own.",
        allow_abbrev=False,
    )
    add_simulate_gpus(parser)
    return parser
