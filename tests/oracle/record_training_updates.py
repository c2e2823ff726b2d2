"""Records what TensorFlow 1.15's optimizer update ops do to variables, in training_updates.json.

Run with a Python that has TensorFlow 1.15: `python tests/oracle/record_training_updates.py`.
"""

import json
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

SCALARS = {
    "lr": 0.3, "alpha": 0.2, "rho": 0.9, "momentum": 0.7, "epsilon": 0.01, "beta1_power": 0.81, "beta2_power": 0.95,
    "beta1": 0.9, "beta2": 0.97, "l1": 0.05, "l2": 0.1, "lr_power": -0.5, "l2_shrinkage": 0.2, "sign_decay": 0.8,
    "beta": 0.6, "logbase": 1.2, "global_step": 3,
}  # fmt: skip
CASES = [
    ("GradientDescent", {}, {}),
    ("ProximalGradientDescent", {}, {}),
    ("ProximalGradientDescent", {"l1": 0.0}, {}),
    ("Momentum", {}, {}),
    ("Momentum", {}, {"use_nesterov": True}),
    ("KerasMomentum", {}, {}),
    ("KerasMomentum", {}, {"use_nesterov": True}),
    ("Adagrad", {}, {}),
    ("Adagrad", {}, {"update_slots": False}),
    ("AdagradV2", {}, {}),
    ("AdagradV2", {}, {"update_slots": False}),
    ("ProximalAdagrad", {}, {}),
    ("ProximalAdagrad", {"l1": 0.0}, {}),
    ("AdagradDA", {}, {}),
    ("AdagradDA", {"l1": 0.0}, {}),
    ("Adadelta", {}, {}),
    ("Adam", {}, {}),
    ("Adam", {}, {"use_nesterov": True}),
    ("AdamWithAmsgrad", {}, {}),
    ("AdaMax", {}, {}),
    ("RMSProp", {}, {}),
    ("CenteredRMSProp", {}, {}),
    ("Ftrl", {}, {}),
    ("Ftrl", {"lr_power": -0.7}, {}),
    ("Ftrl", {"l1": 3.0}, {}),
    ("FtrlV2", {}, {}),
    ("FtrlV2", {"lr_power": -0.3}, {}),
    ("AddSign", {}, {}),
    ("PowerSign", {}, {}),
]
ROWS, COLUMNS = 3, 2


def values_of(names, seed):
    """Start values of variables: those that are divided by are positive and large enough."""
    draw = np.random.RandomState(seed)
    values = {}
    for name in names:
        value = draw.normal(size=[ROWS, COLUMNS]).astype(np.float32)
        if name in ("accum", "accum_update", "ms", "v", "vhat", "gradient_squared_accumulator"):
            value = np.abs(value) + np.float32(1.5)
        if name == "mg":
            value *= np.float32(0.1)
        values[name] = value
    return values


def record(op_type, scalars, attrs, sparse, seed):
    definition = op_def_registry.get_registered_ops()[op_type]
    resource = op_type.startswith("Resource")
    inputs = [a.name for a in definition.input_arg]
    kind = tf.resource.as_datatype_enum if resource else None
    variables = [a.name for a in definition.input_arg if (a.type == kind if resource else a.is_ref)]
    start = values_of(variables, seed)
    draw = np.random.RandomState(seed + 1)
    indices = [2, 0, 2] if sparse else None
    with tf.Graph().as_default(), tf.Session() as session:
        made = {n: tf.Variable(start[n], use_resource=resource) for n in variables}
        given, listed = {}, []
        for name in inputs:
            if name in variables:
                given[name] = made[name].handle if resource else made[name]._variable
                listed.append(start[name].tolist())
                continue
            if name in ("grad", "delta"):
                value = draw.normal(size=[ROWS, COLUMNS]).astype(np.float32)
            elif name == "indices":
                value = np.array(indices, np.int32)
            elif name == "global_step":
                value = np.int64(SCALARS[name])
            else:
                value = np.float32(scalars.get(name, SCALARS[name]))
            given[name] = value
            listed.append(value.tolist())
        session.run(tf.global_variables_initializer())
        session.run(getattr(tf.raw_ops, op_type)(**given, **attrs))
        want = [session.run(made[n]).tolist() for n in variables]
    return {"op": op_type, "attrs": attrs, "names": inputs, "inputs": listed, "want": want}


def main():
    known = op_def_registry.get_registered_ops()
    cases = []
    for number, (name, scalars, attrs) in enumerate(CASES):
        for form in ("Apply", "ResourceApply", "SparseApply", "ResourceSparseApply"):
            if form + name in known:
                cases.append(record(form + name, scalars, attrs, "Sparse" in form, 10 * number))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training_updates.json")
    with open(path, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
