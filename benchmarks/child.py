"""The process of one side: builds a row's program, then runs as many iterations as it is told to, and says how long it took.

Runs under Python 3.7 as well. Protocol: `ROW` as the first argument, and "jax" as the second for the row's version in plain JAX; prints
"ready FACTS", or "skipped" when the row has no such version, then for every line N on stdin one line with the seconds that
N iterations took.
"""

import importlib.util
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main():
    out = os.fdopen(os.dup(1), "w")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rows", sys.argv[1] + ".py")
    start = time.perf_counter()
    spec = importlib.util.spec_from_file_location("row", path)
    row = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(row)
    if sys.argv[2:] == ["jax"]:
        if not hasattr(row, "build_jax"):
            out.write("skipped\n")
            out.flush()
            return
        import jax

        version = jax.__version__
        step = row.build_jax()
    else:
        import tensorflow as tf

        version = tf.__version__
        if int(version.split(".")[0]) >= 2:
            tf = tf.compat.v1
            tf.disable_v2_behavior()
        step = row.build(tf)
    step()
    facts = {"version": version, "first_s": time.perf_counter() - start}
    for _ in range(getattr(row, "WARM_UP", 20)):
        step()
    out.write("ready " + json.dumps(facts) + "\n")
    out.flush()
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        out.write("%r\n" % (time.perf_counter() - start))
        out.flush()


main()
