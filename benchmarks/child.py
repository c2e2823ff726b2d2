"""The process of one side: builds a row's program, then runs as many iterations as it is told to, and says how long it took.

Runs under Python 3.7 as well. Protocol: `child.py ROW API [VARIANT]`, where the API is "tf", "jax" or "torch"; prints
"ready FACTS", or "skipped" when the row has no such version, then for every line N on stdin one line with the seconds that
N iterations took.

A row is a module with `TITLE` and `build(tf)`, `build_jax()`, `build_torch()`, each of which returns a step: a callable. What it may have besides
is described in `runner.py`. A step may have the attributes `value` (called before anything else, gives numbers that all
TensorFlow sides must agree on), `wait` (called at the end of what is timed: steps may return before they are done) and `count` (how many units
one step is).
"""

import importlib.util
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = os.path.dirname(os.path.abspath(__file__))


def build(row, api, options):
    """The version of the framework and the row's step; None when the row has no such program."""
    name = {"tf": "build", "jax": "build_jax", "torch": "build_torch"}[api]
    make = getattr(row, name, None)
    if make is None:
        return None
    if api == "jax":
        import jax

        return jax.__version__, make(*options)
    if api == "torch":
        import torch

        return torch.__version__, make(*options)
    import tensorflow as tf

    version = tf.__version__
    if int(version.split(".")[0]) >= 2:
        tf = tf.compat.v1
        tf.disable_v2_behavior()
    return version, make(tf, *options)


def main():
    out = os.fdopen(os.dup(1), "w")
    name, api = sys.argv[1:3]
    sys.path.insert(0, HERE)
    start = time.perf_counter()
    spec = importlib.util.spec_from_file_location("row", os.path.join(HERE, "rows", name + ".py"))
    row = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(row)
    made = build(row, api, sys.argv[3:])
    if made is None:
        out.write("skipped\n")
        out.flush()
        return
    version, step = made
    facts = {"version": version, "count": getattr(step, "count", 1)}
    value = getattr(step, "value", None)
    if value is not None:
        facts["value"] = value()
    wait = getattr(step, "wait", lambda: None)
    before = time.perf_counter()
    step()
    wait()
    after = time.perf_counter()
    facts.update(first_s=after - start, step_s=after - before)
    if not getattr(row, "ONCE", None):
        end = before + getattr(row, "WARM_SECONDS", 1e9)
        for _ in range(getattr(row, "WARM_UP", 20)):
            if time.perf_counter() > end:
                break
            step()
        wait()
    out.write("ready " + json.dumps(facts) + "\n")
    out.flush()
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        wait()
        out.write("%r\n" % (time.perf_counter() - start))
        out.flush()


main()
