"""Records what TensorFlow 1.15's random ops give for fixed seeds into `random_values.json`.

Run it with a Python that has TensorFlow 1.15: `python tests/oracle/record_random.py`. Every case is run three times in
one session. Kept are the SHA-256 of the bytes of each run, and its first values.
"""

import hashlib
import json
import os
import pathlib

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

RUNS = 3
SIZES = (1, 3, 5, 17, 1000, 20003)
SEEDS = {"seed": 7, "seed2": 12345678901}
LOGITS = np.log(np.arange(1, 36, dtype=np.float32).reshape(5, 7) % 8 + 0.5)
TRUE_CLASSES = np.array([[0, 5], [7, 2]], np.int64)


def cases(tf):
    """(name, function that builds the tensor or tensors)."""
    ops = tf.raw_ops
    for size in SIZES:
        for kind in ("float16", "float32", "float64"):
            for op in ("RandomUniform", "RandomStandardNormal", "TruncatedNormal"):
                yield (
                    f"{op}-{kind}-{size}",
                    lambda op=op, kind=kind, size=size: getattr(ops, op)(
                        shape=[size], dtype=tf.as_dtype(kind), **SEEDS
                    ),
                )
        for kind in ("int32", "int64"):
            yield (
                f"RandomUniformInt-{kind}-{size}",
                lambda kind=kind, size=size: ops.RandomUniformInt(
                    shape=[size],
                    minval=tf.constant(-10, tf.as_dtype(kind)),
                    maxval=tf.constant(1000003, tf.as_dtype(kind)),
                    **SEEDS,
                ),
            )
        yield (
            f"RandomShuffle-int32-{size}",
            lambda size=size: ops.RandomShuffle(value=tf.range(size), **SEEDS),
        )
    for size in (1, 4, 17):
        yield (
            f"Multinomial-int64-{size}",
            lambda size=size: ops.Multinomial(logits=LOGITS, num_samples=size, **SEEDS),
        )
    yield (
        "RandomGamma-float32-100",
        lambda: ops.RandomGamma(
            shape=[100], alpha=np.array([0.3, 1, 2.5, 10], np.float32), **SEEDS
        ),
    )
    for size in (5, 1000):
        for kind in ("float32", "float64"):
            for op in ("RandomUniform", "RandomNormal", "TruncatedNormal"):
                yield (
                    f"Stateless{op}-{kind}-{size}",
                    lambda op=op, kind=kind, size=size: getattr(ops, "Stateless" + op)(
                        shape=[size], seed=[5, -7], dtype=tf.as_dtype(kind)
                    ),
                )
        yield (
            f"StatelessRandomUniformInt-int32-{size}",
            lambda size=size: ops.StatelessRandomUniformInt(
                shape=[size], seed=[5, -7], minval=-3, maxval=1000
            ),
        )
    yield (
        "StatelessMultinomial-int64-17",
        lambda: ops.StatelessMultinomial(logits=LOGITS, num_samples=17, seed=[5, -7]),
    )
    for op in ("Uniform", "LogUniform"):
        for unique in (False, True):
            for output in range(3):
                yield (
                    f"{op}CandidateSampler-{unique}-{output}",
                    lambda op=op, unique=unique, output=output: getattr(
                        ops, op + "CandidateSampler"
                    )(
                        true_classes=TRUE_CLASSES,
                        num_true=2,
                        num_sampled=20,
                        unique=unique,
                        range_max=50,
                        **SEEDS,
                    )[output],
                )


def main():
    import tensorflow as tf

    found = {}
    for name, build in cases(tf):
        with tf.Graph().as_default():
            tensor = build()
            with tf.Session() as session:
                runs = [session.run(tensor) for _ in range(RUNS)]
        found[name] = [
            {
                "sha256": hashlib.sha256(run.tobytes()).hexdigest(),
                "first": [float(v) for v in run.ravel()[:6]],
            }
            for run in runs
        ]
    target = pathlib.Path(__file__).with_name("random_values.json")
    target.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
