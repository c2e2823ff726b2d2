"""Records the graphs of `nn_graph_cases.py` from TensorFlow 1.15 into `nn_graphs.json`.

Run it with a Python that has TensorFlow 1.15: `python tests/oracle/record_nn_graphs.py`.
"""

import json
import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nn_graph_cases
import tensorflow as tf

tf.logging.set_verbosity("ERROR")
found = {name: nn_graph_cases.describe(tf, build) for name, build in nn_graph_cases.CASES.items()}
target = pathlib.Path(__file__).with_name("nn_graphs.json")
target.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
