"""The program's entry point (TensorFlow: `tf.app.run`)."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.platform import flags, tf_logging

_HELP = re.compile(r"--?(help|helpfull|helpshort|helpxml|\?)$")


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> None:
    """Parses the flags, calls `main(argv)` (the script's own `main` by default) and exits with what it returns.

    Flags that the program does not define are left in `argv` for it. `--help`, `--helpshort` and `--helpfull` print the flags
    and end the program; a wrong value ends it with status 1 (TensorFlow: `tf.app.run`).
    """
    arguments = list(argv) if argv is not None else sys.argv
    if any(_HELP.match(argument) for argument in arguments[1:]):
        from absl import (
            app as absl_app,
        )  # it defines flags of its own, which a program may define too

        absl_app.define_help_flags()
    rest = flags.parse(arguments, known_only=True)
    for argument in rest[1:]:
        name = argument.lstrip("-").partition("=")[0]
        near = difflib.get_close_matches(name, list(flags.FLAGS), n=1, cutoff=0.8)
        if near and argument.startswith("--"):
            tf_logging.warning(
                "The program has no flag --%s (did you mean --%s?); it is left to main(argv).",
                name,
                near[0],
            )
    main = main or getattr(sys.modules["__main__"], "main", None)
    if main is None:
        raise RuntimeError(
            "tf.app.run() calls the function main(argv) of the program, which has none: define it, or pass main=..."
        )
    sys.exit(main(rest))
