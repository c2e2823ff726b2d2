"""Records the graphs and errors of TensorFlow 1.15 for `math_cases.CASES` and `.ERRORS` into `math_graphs.json.gz`.

Run it with a Python that has TensorFlow 1.15: `python tests/oracle/record_math_graphs.py`.
"""

import gzip
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def node_lines(operations, value_of):
    """One line per node: type, name, inputs, control inputs, output shapes, and the value of a small integer constant."""
    lines = []
    for op in operations:
        inputs = [t.name for t in op.inputs] + ["^" + c.name for c in op.control_inputs]
        line = [op.type, op.name, " ".join(inputs), " ".join(str(t.shape) for t in op.outputs)]
        if op.type == "Const":
            line.append(str(value_of(op.outputs[0]).tolist())[:80])
        lines.append(" | ".join(line))
    return lines


def build_case(tf, case, value_of):
    """The node lines of one case and of its gradients, in a graph of its own."""
    build, specs = case
    graph = tf.Graph()
    with graph.as_default():
        inputs = []
        for index, spec in enumerate(specs):
            shape, dtype = spec if isinstance(spec, tuple) else (spec, "float32")
            inputs.append(tf.placeholder(dtype, shape, name=f"p{index}"))
        result = build(tf, *inputs)
        ys = list(result) if isinstance(result, (list, tuple)) else [result]
        xs = [x for x in inputs if not x.dtype.is_integer]
        try:
            names = [None if g is None else g.name for g in tf.gradients(ys, xs)] if xs else []
        except (LookupError, ValueError, TypeError) as error:
            names = [type(error).__name__]
    return {"nodes": node_lines(graph.get_operations(), value_of), "gradients": names}


def build_error(tf, build):
    """`Class: message` of the error that a case raises."""
    with tf.Graph().as_default():
        try:
            build(tf, lambda shape, dtype="float32": tf.placeholder(dtype, shape, name="p"))
        except Exception as error:  # any class may come
            return f"{type(error).__name__}: {error}"
    return "no error"


def main():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    from math_cases import CASES, ERRORS
    from tensorflow.python.framework.tensor_util import constant_value

    recorded = {name: build_case(tf, case, constant_value) for name, case in sorted(CASES.items())}
    recorded["errors"] = {name: build_error(tf, build) for name, build in sorted(ERRORS.items())}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "math_graphs.json.gz")
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as out:
        out.write(json.dumps(recorded, indent=0, sort_keys=True).encode())


if __name__ == "__main__":
    main()
