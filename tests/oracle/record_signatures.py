"""Records the argument names of TensorFlow 1.15's public functions: `python3.7 tests/oracle/record_signatures.py`."""

import inspect
import json
import os
import warnings

warnings.simplefilter("ignore")

import tensorflow as tf  # noqa: E402
from tensorflow.python.util import tf_inspect  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with open(os.path.join(HERE, "..", "api", "public_names.txt")) as file:
        names = file.read().split()
    found = {}
    for name in names:
        value = tf
        try:
            for part in name.split("."):
                value = getattr(value, part)
            if inspect.isclass(value):
                found[name] = tf_inspect.getfullargspec(value.__init__).args[1:]
            elif callable(value):
                found[name] = tf_inspect.getfullargspec(value).args
        except (AttributeError, TypeError):
            continue
    with open(os.path.join(HERE, "signatures.json"), "w") as file:
        json.dump(found, file, indent=0, sort_keys=True)


main()
