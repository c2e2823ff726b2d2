"""Records what TensorFlow 1.15 makes of `training_cases.py`, in training.json, and a small training that it saved.

Run with a Python that has TensorFlow 1.15: `python tests/oracle/record_training.py`.
"""

import json
import os
import shutil
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import training_cases as cases  # noqa: E402

tf.logging.set_verbosity(tf.logging.ERROR)


def record():
    return {
        "optimizer_nodes": {
            f"{name} {'sparse' if sparse else 'dense'}": cases.optimizer_nodes(tf, name, sparse)
            for name in cases.OPTIMIZERS
            for sparse in (False, True)
        },
        "trajectories": {
            f"{name} {form}": cases.trajectory(tf, name, *options)
            for name in cases.OPTIMIZERS
            for form, options in cases.FORMS.items()
        },
        "savers": {
            f"{name} {'resource' if resource else 'ref'}": cases.saver_nodes(tf, options, resource)
            for name, options in cases.SAVERS.items()
            for resource in (False, True)
        },
        "rates": {name: cases.rates(tf, name) for name in cases.RATES},
        "averages": {
            f"{zero_debias} {resource}": cases.averages(tf, zero_debias, resource)
            for zero_debias in (False, True)
            for resource in (False, True)
        },
        "placements": cases.placements(tf),
        "summaries": {name: cases.summary(tf, name) for name in cases.SUMMARIES},
    }


def save_model(directory):
    """A checkpoint with its meta graph, written by TensorFlow, sharded over two devices."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    with tf.Graph().as_default():
        with tf.device("/cpu:0"):
            w = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w")
        with tf.device("/cpu:1"):
            b = tf.Variable([0.5, -0.5], name="b", use_resource=True)
        step = tf.train.get_or_create_global_step()
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        y = tf.nn.relu(tf.matmul(x, w) + b, name="y")
        loss = tf.reduce_mean(tf.square(y), name="loss")
        train = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
        tf.summary.scalar("loss_value", loss)
        tf.add_to_collection("sizes", 3)
        tf.add_to_collection("rates", 0.25)
        tf.add_to_collection("names", "abc")
        saver = tf.train.Saver(sharded=True, save_relative_paths=True)
        config = tf.ConfigProto(device_count={"CPU": 2})
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            session.run(train, {x: [[1.0, 2.0]]})
            saver.save(session, os.path.join(directory, "model"), global_step=step)
            return {
                "w": session.run(w).tolist(),
                "b": session.run(b).tolist(),
                "y": session.run(y, {x: [[1.0, -1.0], [0.5, 2.0]]}).tolist(),
                "names": sorted(v.op.name for v in tf.global_variables()),
            }


def main():
    found = record()
    found["model"] = save_model(os.path.join(HERE, "training_model"))
    with open(os.path.join(HERE, "training.json"), "w") as file:
        file.write("{\n")
        parts = []
        for section, items in found.items():
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in items.items())
            parts.append(f"{json.dumps(section)}: {{\n{rows}\n}}")
        file.write(",\n".join(parts) + "\n}\n")


main()
