"""Writes slice_checkpoint, a checkpoint of the first format, with TensorFlow 1.15.

Run with a Python that has TensorFlow 1.15: `python tests/oracle/record_slice_checkpoint.py`.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

VALUES = {
    "w": np.float32([[1, 2], [3, 4]]),
    "s": ["x", "yy"],
    "i": np.int64(7),
    "b": [True, False],
    "h": np.float16([1.5]),
    "d": np.float64([2.5]),
    "c": np.complex64([1 + 2j]),
}

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slice_checkpoint")
with tf.Session() as session:
    session.run(
        tf.raw_ops.Save(filename=path, tensor_names=list(VALUES), data=list(VALUES.values()))
    )
