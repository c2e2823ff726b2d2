# ruff: noqa  (also runs under Python 3.7)
"""Records `<area>.json` from TensorFlow 1.15 for the areas given (all by default): run me with its Python, in this folder."""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings

warnings.simplefilter("ignore")
import programs
import tensorflow as tf

tf.logging.set_verbosity(tf.logging.FATAL)
FOLDER = os.path.dirname(os.path.abspath(__file__))


def record(area):
    recorded = {}
    for name, case in programs.load(area).items():
        try:
            recorded[name] = programs.run(tf, case)
        except Exception as error:  # the program itself is wrong: say which, record the others
            print("NOT RECORDED: %s.%s: %s: %s" % (area, name, type(error).__name__, error))
    with open(os.path.join(FOLDER, area + ".json"), "w") as handle:
        handle.write("{\n")
        lines = [
            json.dumps(k) + ":" + json.dumps(v, separators=(",", ":"), sort_keys=False)
            for k, v in recorded.items()
        ]
        handle.write(",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    own = ("names", "scopes", "collections", "building", "shapes", "gradients", "variables")
    own += ("variable_scopes", "initializers", "graphdef", "session", "platform", "training_runs")
    for area in sys.argv[1:] or own:
        record(area)
