# ruff: noqa  (also runs under Python 3.7)
"""Records checkpoints of partitioned variables into partitioned_checkpoint/: run me with TensorFlow 1.15's Python."""

import os
import shutil

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "partitioned_checkpoint")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for name, sharded in (("whole", False), ("sharded", True)):
        with (
            tf.Graph().as_default(),
            tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session,
        ):
            for index, resource in enumerate((True, False)):
                with tf.device("/cpu:%d" % index):
                    tf.get_variable(
                        "rows%d" % index,
                        initializer=tf.reshape(tf.range(14.0), [7, 2]),
                        partitioner=tf.fixed_size_partitioner(3),
                        use_resource=resource,
                    )
                    tf.get_variable(
                        "columns%d" % index,
                        initializer=tf.reshape(tf.range(10, dtype=tf.int64), [2, 5]),
                        partitioner=tf.fixed_size_partitioner(2, axis=1),
                        use_resource=resource,
                    )
            session.run(tf.global_variables_initializer())
            saver = tf.train.Saver(sharded=sharded)
            saver.save(session, os.path.join(FOLDER, name), write_meta_graph=False)
    os.remove(os.path.join(FOLDER, "checkpoint"))


if __name__ == "__main__":
    main()
