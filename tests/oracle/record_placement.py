"""Records where TensorFlow 1.15 places ops, and what it says when it cannot, in `placement.json`.

Run with a Python that has TensorFlow 1.15: `python tests/oracle/record_placement.py`. A case is a list of nodes
(name, kind, inputs, device asked for, colocated with); `tests/passes/test_place_oracle.py` builds the same graphs.
"""

import json
import os
import re

CASES = {
    "default": [["a", "const", [], "", None], ["b", "neg", ["a"], "", None]],
    "explicit": [["a", "const", [], "/cpu:1", None], ["b", "neg", ["a"], "/device:CPU:0", None]],
    "unset index": [["a", "const", [], "/cpu", None], ["b", "neg", ["a"], "/job:localhost", None]],
    "generator": [["a", "const", [], "", None], ["b", "neg", ["a"], "/cpu:1", None]],
    "generator, two places": [
        ["a", "const", [], "", None],
        ["b", "neg", ["a"], "/cpu:1", None],
        ["c", "neg", ["a"], "/cpu:0", None],
    ],
    "metadata": [
        ["a", "const", [], "/cpu:1", None],
        ["b", "neg", ["a"], "/cpu:1", None],
        ["s", "shape", ["b"], "", None],
    ],
    "ref": [
        ["v", "variable", [], "/cpu:1", None],
        ["c", "const", [], "", None],
        ["w", "assign", ["v", "c"], "", None],
        ["r", "identity", ["v"], "", None],
    ],
    "ref override": [
        ["v", "variable", [], "/cpu:1", None],
        ["c", "const", [], "", None],
        ["w", "assign", ["v", "c"], "/cpu:0", None],
    ],
    "resource": [
        ["v", "handle", [], "/cpu:1", None],
        ["c", "const", [], "/cpu:0", None],
        ["w", "assign_resource", ["v", "c"], "", None],
        ["r", "read", ["v"], "", None],
    ],
    "colocated": [["a", "const", [], "/cpu:1", None], ["b", "const", [], "", "a"]],
    "colocated chain": [
        ["a", "const", [], "", None],
        ["b", "const", [], "", "a"],
        ["c", "neg", ["a"], "/cpu:1", "b"],
    ],
    "colocated with a stranger": [["a", "const", [], "", "nobody"]],
    "contradiction": [["a", "const", [], "/cpu:0", None], ["b", "const", [], "/cpu:1", "a"]],
    "no such device": [["a", "const", [], "/cpu:7", None]],
    "no such gpu": [["a", "const", [], "/gpu:0", None]],
    "no such job": [["a", "const", [], "/job:worker/task:3", None]],
}


def normalized(text):
    """A message without what differs from machine to machine."""
    text = text.split("\n\nOriginal stack trace")[0]
    text = re.sub(r" \(defined at [^)]*\)", "", text)
    text = re.sub(
        r"Device assignments active during op '\w+' creation:\n(  with [^\n]*>)?", "", text
    )
    text = re.sub(r"Additional information about colocations.*", "", text, flags=re.S)
    text = re.sub(r", /job:localhost/replica:0/task:0/device:XLA_CPU:0", "", text)
    text = re.sub(r" The requested device appears to be a GPU.*", "", text)
    return re.sub(r"\s+", " ", text.split("\n\t [[")[0]).strip()


def make(tf, kind, values, name):
    ops = tf.raw_ops
    if kind == "const":
        return tf.constant([1.0], name=name)
    if kind == "variable":
        return ops.VariableV2(shape=[1], dtype=tf.float32, name=name)
    if kind == "handle":
        return ops.VarHandleOp(dtype=tf.float32, shape=[1], name=name)
    if kind == "assign":
        return ops.Assign(ref=values[0], value=values[1], name=name)
    if kind == "assign_resource":
        return ops.AssignVariableOp(resource=values[0], value=values[1], name=name)
    if kind == "read":
        return ops.ReadVariableOp(resource=values[0], dtype=tf.float32, name=name)
    if kind == "neg":
        return ops.Neg(x=values[0], name=name)
    return {"shape": ops.Shape, "identity": ops.Identity}[kind](input=values[0], name=name)


def build(tf, nodes):
    made = {}
    for name, kind, inputs, device, near in nodes:
        with tf.device(device or None):
            made[name] = make(tf, kind, [made[i] for i in inputs], name)
        if near is not None:
            op = getattr(made[name], "op", made[name])
            listed = tf.compat.v1.AttrValue.ListValue(s=[b"loc:@" + near.encode()])
            op._set_attr("_class", tf.compat.v1.AttrValue(list=listed))


def outcome(tf, nodes, soft):
    config = tf.compat.v1.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=soft)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    graph = tf.Graph()
    try:
        with graph.as_default():
            build(tf, nodes)
            everything = [op for op in graph.get_operations() if op.name != "r"]
        metadata = tf.compat.v1.RunMetadata()
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            session.run(everything, options=options, run_metadata=metadata)
    except tf.errors.InvalidArgumentError as error:
        return {"error": normalized(str(error))}
    names = {node[0] for node in nodes}
    return {
        "placed": {
            node.name: node.device
            for part in metadata.partition_graphs
            for node in part.node
            if node.name in names
        }
    }


def main():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    recorded = [
        {"name": name, "soft": soft, "nodes": nodes, **outcome(tf, nodes, soft)}
        for name, nodes in CASES.items()
        for soft in (False, True)
    ]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "placement.json")
    with open(path, "w") as file:
        json.dump(recorded, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()
