"""`python -m tests.fuzz.guided`: inputs that coverage guides, with atheris (`pip install -e ".[fuzz]"`, Linux).

The bytes of an input are the choices of the generators in `inputs.py`, or a message as it is: what reaches new code is kept and changed further.
Exits with 0 after `--inputs` inputs when the server answered all of them and serves on; otherwise it says which input was answered how, and
writes it into a file, which `--again FILE` runs once more. Where atheris is not installed it says so, and nothing guides
the bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import time
from collections.abc import Iterable
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

    def __init__(self, total: int, seed: int = 0) -> None:
        from tests.fuzz.target import KINDS, Target

        self._kinds = KINDS
        self.target = Target()
        self._total = total
        self._seed = seed
        self._done = 0
        self._began = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Raises AssertionError for an exception that is no OpError, or a server that does not serve."""
        target = self.target
        strange = dict(target.strange)
        if data:
            way, rest = data[0] % (len(self._kinds) + 2), data[1:]
            if way < len(self._kinds):
                target.run_with(self._kinds[way], ByteRandom(rest), repr(data))
            elif way == len(self._kinds):
                target.run_bytes(RAW_METHODS[rest[0] % len(RAW_METHODS)] if rest else "", rest[1:])
            else:
                target.run_stream(rest)
        self._done += 1
        if target.strange != strange:
            new = [text for text, count in target.strange.items() if count != strange.get(text, 0)]
            self._say(f"input {self._done} of seed {self._seed} is answered by {'; '.join(new)}")
            raise AssertionError(f"{self._done} inputs: {'; '.join(new)}")
        if self._done % CHECK_EVERY == 0 or self._done >= self._total:
            target.still_serves()
        if self._done == self._total:
            took = time.monotonic() - self._began
            codes = f"codes {target.codes}"
            self._say(f"{self._done} inputs of seed {self._seed} in {took:.0f} s, {codes}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.__stderr__, flush=True)


def main() -> int:
    """Runs the inputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", metavar="FILE", help="one input, from the file that was written")
    options = parser.parse_args()
    if options.again:
        return _again(options.again)
    try:
        import atheris
    except ImportError:
        text = 'atheris is not installed here (pip install -e ".[fuzz]"): bytes are drawn at random, and nothing guides them'
        print(text, file=sys.stderr)
        return _unguided(options.inputs, options.seed)
    with atheris.instrument_imports(include=["flowmesh"]):
        from flowmesh.core import limits
        from tests.fuzz.target import LIMITS
    flags = [f"-runs={options.inputs}", f"-seed={options.seed}", "-max_len=4096", "-timeout=60"]
    flags += ["-rss_limit_mb=16384", "-detect_leaks=0", "-len_control=0", "-print_final_stats=1"]
    with limits.use(LIMITS):
        guided = Guided(options.inputs, options.seed)
        quiet: Any = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
        with contextlib.redirect_stdout(quiet):
            atheris.Setup([sys.argv[0], *flags], guided)
            atheris.Fuzz()  # ends the process
    return 0


def _unguided(count: int, seed: int) -> int:
    """Runs inputs of random bytes."""
    r = random.Random(seed)
    return _without_atheris((r.randbytes(r.randrange(600)) for _ in range(count)), count, seed)


def _again(path: str) -> int:
    """Runs one input, and says what the server does."""
    with open(path, "rb") as file:
        return _without_atheris([file.read()], 1, 0)


def _without_atheris(inputs: Iterable[bytes], count: int, seed: int) -> int:
    from flowmesh.core import limits
    from tests.fuzz.target import LIMITS

    with limits.use(LIMITS), open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        guided = Guided(count, seed)
        try:
            for data in inputs:
                guided(data)
        finally:
            guided.target.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
