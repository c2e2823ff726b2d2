"""A user's program as `flowmesh run` and `flowmesh up` take it: SCRIPT, -m MODULE or -c CODE."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FORMS = "SCRIPT | -m MODULE | -c CODE"
SIMULATE_GPUS = "FLOWMESH_SIMULATE_GPUS"
"""Environment variable that tells how many GPUs the device list simulates."""

_FLAGS: dict[str, Literal["module", "code"]] = {"-m": "module", "-c": "code"}


@dataclass(frozen=True)
class Program:
    """What to run as ``__main__``, and the arguments it finds in ``sys.argv[1:]``."""

    kind: Literal["script", "module", "code"]
    target: str
    arguments: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The program as words of a command line, the way Python and `flowmesh run` take it."""
        flag = {"script": [], "module": ["-m"], "code": ["-c"]}[self.kind]
        return [*flag, self.target, *self.arguments]

    def command(self, *, as_tensorflow: bool) -> list[str]:
        """A command that runs it in a new Python process, through `flowmesh run` or plainly.

        -P keeps the current folder out of ``sys.path`` while Flowmesh itself is imported, so that a
        ``queue.py`` next to a script does not hide Python's; `flowmesh run` adds the right folder.
        """
        through = ["-P", "-m", "flowmesh", "run"] if as_tensorflow else []
        return [sys.executable, *through, *self.words()]


def parse_with_program(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, Program]:
    """Parse our options up to the program; all that follows it is the program's own."""
    takes_value = {
        option
        for action in parser._actions
        if action.nargs != 0
        for option in action.option_strings
    }
    at = 0
    while at < len(argv):
        word = argv[at]
        if word in _FLAGS or not word.startswith("-") or word in ("-", "--"):
            break
        at += 2 if word in takes_value else 1
    options = parser.parse_args(argv[:at])
    rest = list(argv[at:])
    if rest and rest[0] == "--":
        del rest[0]
    if not rest:
        parser.error(f"what to run is missing: {FORMS}")
    kind = _FLAGS.get(rest[0])
    if kind is None:
        return options, Program("script", rest[0], tuple(rest[1:]))
    if len(rest) == 1:
        parser.error(f"{rest[0]} needs an argument")
    return options, Program(kind, rest[1], tuple(rest[2:]))


def add_simulate_gpus(parser: argparse.ArgumentParser) -> None:
    """Add ``--simulate-gpus N``, which several commands share."""
    parser.add_argument(
        "--simulate-gpus",
        type=count,
        metavar="N",
        help="show N simulated GPUs, whatever this machine has",
    )


def count(text: str) -> int:
    """An argparse type: a whole number that is not negative."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


count.__name__ = "number"  # argparse says: invalid number value: 'x'
