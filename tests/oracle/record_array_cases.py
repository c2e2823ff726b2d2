"""Records `array_cases.json` from TensorFlow 1.15: run me with its Python, in this folder."""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from array_cases import BUILD_ERRORS, CASES, RUN_ERRORS
from tensorflow.python.ops import control_flow_ops

tf.switch = control_flow_ops.switch
tf.merge = control_flow_ops.merge
tf.control_flow_with_dependencies = control_flow_ops.with_dependencies
SKIPPED_ATTRS = ("_class", "value", "token", "_output_shapes")


def attr_text(value):
    return " ".join(str(value).split())


def node(op):
    attrs = {k: attr_text(v) for k, v in sorted(op.node_def.attr.items()) if k not in SKIPPED_ATTRS}
    shapes = []
    for tensor in op.outputs:
        shapes.append(tensor.shape.as_list() if tensor.shape.dims is not None else None)
    return {
        "name": op.name,
        "op": op.type,
        "inputs": [t.name for t in op.inputs],
        "control": sorted(c.name for c in op.control_inputs),
        "device": op.device,
        "attrs": attrs,
        "dtypes": [t.dtype.name for t in op.outputs],
        "shapes": shapes,
    }


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "S":
        flat = [v.decode("latin-1") for v in array.astype(object).reshape(-1)]
    elif array.dtype.kind == "c":
        flat = [[v.real, v.imag] for v in array.reshape(-1).tolist()]
    else:
        flat = array.reshape(-1).tolist()
    return {"dtype": array.dtype.kind, "shape": list(array.shape), "flat": flat}


def record(source):
    with tf.Graph().as_default() as graph:
        scope = {"tf": tf, "np": np}
        exec(source, scope)
        nodes = [node(op) for op in graph.get_operations()]
        fetches = list(scope["out"])
        values = []
        if fetches:
            with tf.Session() as session:
                values = plain(session.run(fetches, scope.get("feed", {})))
    return {"nodes": nodes, "values": values}


def record_error(source, run):
    with tf.Graph().as_default():
        scope = {"tf": tf, "np": np}
        try:
            exec(source, scope)
            if run:
                with tf.Session() as session:
                    session.run(scope["out"], scope.get("feed"))
        except Exception as error:
            text = getattr(error, "message", None) or str(error)
            if run:
                text = text.split("\n")[0].split(" [[")[0].split("[[{{")[0].strip()
            return {"type": type(error).__name__, "message": text}
    raise AssertionError("no error: " + source)


if __name__ == "__main__":
    errors = {name: record_error(source, False) for name, source in BUILD_ERRORS.items()}
    run_errors = {name: record_error(source, True) for name, source in RUN_ERRORS.items()}
    with open("array_errors.json", "w") as handle:
        json.dump({"build": errors, "run": run_errors}, handle, indent=1, sort_keys=True)
        handle.write("\n")
    recorded = {name: record(source) for name, source in CASES.items()}
    with open("array_cases.json", "w") as handle:
        json.dump(recorded, handle, indent=None, separators=(",", ":"), sort_keys=True)
        handle.write("\n")
