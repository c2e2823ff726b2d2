"""Runs cases on request: one JSON object a line in, one a line out.

python runner.py tensorflow | tensorflow.compat.v1 | flowmesh
"""

import importlib
import json
import os
import sys
import tempfile
import traceback
import warnings

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def encode(value):
    """A value as JSON: arrays with dtype and shape, bytes as Latin-1."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        kind = "string" if array.dtype.kind in "OSU" else array.dtype.name
        if array.dtype.kind == "c":
            data = [[x.real, x.imag] for x in array.ravel().tolist()]
        else:
            data = [encode(x) for x in array.ravel().tolist()]
        return {"dtype": kind, "shape": list(array.shape), "data": data}
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, dict):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot encode {value!r}")


def load(module):
    """The module that programs call `tf`."""
    warnings.simplefilter("ignore")
    tf = importlib.import_module(module)
    if module == "tensorflow.compat.v1":
        tf.disable_v2_behavior()
    tf.logging.set_verbosity(tf.logging.ERROR)
    return tf


def serve(tf, function, target, container, folder, extra):
    """Runs one program in a graph and containers of its own."""
    from cases.registry import Context

    context = Context(tf, target, folder, container, extra)
    with tf.Graph().as_default() as graph, graph.container(container):
        return encode(function(tf, context))


def main():
    answers, sys.stdout = sys.stdout, sys.stderr
    tf = load(sys.argv[1])
    from cases import CASES

    answers.write(json.dumps({"ready": tf.__version__}) + "\n")
    answers.flush()
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        try:
            os.environ["INTEROP_MASTER"] = request.get("master", "")
            with tempfile.TemporaryDirectory() as folder:
                value = serve(
                    tf,
                    CASES[request["case"]].function,
                    request["target"],
                    request["container"],
                    request.get("folder") or folder,
                    request.get("extra"),
                )
            answer = {"value": value}
        except BaseException as error:
            told = f"{type(error).__name__}: {str(error)[:1000]}"
            answer = {"error": told + "\n...\n" + traceback.format_exc()[-2000:]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
