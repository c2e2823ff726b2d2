"""The program's entry point (TensorFlow: `tf.app.run`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from flowmesh.core.platform import flags


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> None:
    """Parses the flags, calls `main(argv)` (the script's own `main` by default) and exits with what it returns."""
    rest = flags.parse(list(argv) if argv is not None else sys.argv)
    main = main or sys.modules["__main__"].main  # type: ignore[attr-defined]
    assert main is not None
    sys.exit(main(rest))
