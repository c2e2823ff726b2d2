"""`python -m tests.fuzz.guided`: inputs that coverage guides, with atheris (`pip install -e ".[fuzz]"`, Linux).

The bytes of an input are the choices of the generators in `inputs.py`, or a message as it is: what reaches new code is kept and changed further.
Exits with 0 after `--inputs` inputs when the server answered all of them and serves on. Where atheris is not installed it says so, and ends with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
from typing import Any

RAW_METHODS = ("RunGraph", "RecvTensor", "RegisterGraph", "ExtendSession", "CreateSession")
CHECK_EVERY = 1000


class ByteRandom(random.Random):
    """Numbers from bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        super().__init__(0)

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken.ljust(size, b"\0"), "little") >> (8 * size - k)

    def random(self) -> float:
        return float(self.getrandbits(16)) / (1 << 16)


class Guided:
    """One server, and what is done with an input."""

    def __init__(self, total: int) -> None:
        from tests.fuzz.target import KINDS, Target

        self._kinds = KINDS
        self._target = Target()
        self._total = total
        self._done = 0

    def __call__(self, data: bytes) -> None:
        """Raises AssertionError for an exception that is no OpError, or a server that does not serve."""
        target = self._target
        strange = sum(target.strange.values())
        if data:
            way, rest = data[0] % (len(self._kinds) + 2), data[1:]
            if way < len(self._kinds):
                target.run_with(self._kinds[way], ByteRandom(rest), repr(data))
            elif way == len(self._kinds):
                target.run_bytes(RAW_METHODS[rest[0] % len(RAW_METHODS)] if rest else "", rest[1:])
            else:
                target.run_stream(rest)
        assert sum(target.strange.values()) == strange, target.strange
        self._done += 1
        if self._done % CHECK_EVERY == 0 or self._done >= self._total:
            target.still_serves()


def main() -> int:
    """Runs the inputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print('atheris is not installed here: pip install -e ".[fuzz]"')
        return 0
    with atheris.instrument_imports(include=["flowmesh"]):
        from flowmesh.core import limits
        from tests.fuzz.target import LIMITS
    flags = [f"-runs={options.inputs}", f"-seed={options.seed}", "-max_len=4096", "-timeout=60"]
    flags += ["-rss_limit_mb=16384", "-detect_leaks=0", "-len_control=0", "-print_final_stats=1"]
    with limits.use(LIMITS):
        guided = Guided(options.inputs)
        quiet: Any = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
        with contextlib.redirect_stdout(quiet):
            atheris.Setup([sys.argv[0], *flags], guided)
            atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
