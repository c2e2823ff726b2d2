"""`python -m tests.fuzz`: many bad inputs for one server.

python -m tests.fuzz --inputs 100000            all kinds, in turn
python -m tests.fuzz --kind graph --first 17 --inputs 1    one of them again
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import time

from flowmesh.core import limits
from tests.fuzz.target import KINDS, LIMITS, Target


def main() -> int:
    """Runs the inputs; 1 when the server does not serve afterwards or answers in ways nobody expects."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--memory", type=int, default=16, help="GiB of address space")
    parser.add_argument("--verbose", action="store_true", help="name each input")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (options.memory << 30, options.memory << 30))
    kinds = [options.kind] if options.kind else list(KINDS)
    started = time.monotonic()
    with limits.use(LIMITS):
        target = Target(options.verbose)
        try:
            with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
                for number in range(options.first, options.first + options.inputs):
                    kind = kinds[number % len(kinds)]
                    target.run(kind, number)
                    if number % 1000 == 999:
                        target.still_serves()
                        print(f"{number + 1} inputs", file=sys.__stderr__, flush=True)
            target.still_serves()
        finally:
            target.close()
    print(f"{options.inputs} inputs in {time.monotonic() - started:.0f} s, codes {target.codes}")
    for text, count in target.strange.most_common():
        print(f"{count:6} {text}")
    return 1 if target.strange else 0


if __name__ == "__main__":
    sys.exit(main())
