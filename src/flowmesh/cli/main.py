"""The ``flowmesh`` command: picks the sub-command's module, imports it, and hands over.

A sub-command is a module with ``main(argv) -> int``. What follows a script's name belongs to the
script, which argparse cannot express for options, so each sub-command parses its own arguments.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("flowmesh.cli.run", "run a script with `import tensorflow` meaning Flowmesh"),
    "up": ("flowmesh.cli.up", "run a script on a local cluster of ps and worker tasks"),
    "serve": ("flowmesh.cli.serve", "be one task of a cluster, as a generic server"),
    "certs": ("flowmesh.cli.certs", "make the credentials of a cluster of several machines"),
    "chaos": ("flowmesh.cli.chaos.command", "break a cluster in every way, and check what happens"),
    "devices": ("flowmesh.cli.devices", "list this machine's devices"),
}

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's own); returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in COMMANDS:
        return _without_command(arguments)
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    try:
        code: int = module.main(arguments[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def version() -> str:
    """The installed version of Flowmesh."""
    try:
        return importlib.metadata.version("flowmesh")
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module("flowmesh"), "__version__", "unknown"))


def _without_command(arguments: list[str]) -> int:
    """Answer ``--help``, ``--version``, nothing at all, and what is no command."""
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    word = arguments[0]
    if not word.startswith("-"):
        parser.error(f"there is no command {word!r}{_hint(word)}")
    if not parser.parse_args(arguments).version:
        parser.error("a command is missing")
    print(f"flowmesh {version()}")
    return 0


def _hint(word: str) -> str:
    if word.endswith(".py") or os.path.isfile(word):
        return f"; to run a script: flowmesh run {word}"
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; the commands are {', '.join(COMMANDS)}"


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="flowmesh",
        usage="flowmesh [--version] [--help] COMMAND ...",
        description="Distributed TensorFlow 1, re-founded in Python on XLA.",
        epilog=f"commands:\n{listed}\n\n`flowmesh COMMAND --help` explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    return parser
