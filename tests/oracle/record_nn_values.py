"""Records the values of `nn_value_cases.py` from TensorFlow 1.15 into `nn_values.json`.

Run it with a Python that has TensorFlow 1.15: `python tests/oracle/record_nn_values.py`.
"""

import json
import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nn_value_cases
import numpy as np
import tensorflow as tf

tf.logging.set_verbosity("ERROR")


def rounded(value):
    """Enough digits to compare single-precision results."""
    if value.dtype.kind in "iub":
        return value.ravel().tolist()
    return [float(f"{v:.8g}") for v in np.asarray(value, np.float64).ravel()]


found = {}
for name, build in nn_value_cases.CASES.items():
    with tf.Graph().as_default(), tf.Session() as session:
        values = session.run(nn_value_cases.listed(build(tf)))
    found[name] = [
        {"dtype": str(v.dtype), "shape": list(v.shape), "values": rounded(v)} for v in values
    ]
target = pathlib.Path(__file__).with_name("nn_values.json")
target.write_text(json.dumps(found, sort_keys=True, separators=(",", ":")) + "\n")
