"""Assign operations to a device and log where everything was placed.

python examples/placement.py
python examples/placement.py --device /cpu:0
"""

import flowmesh as tf

tf.app.flags.DEFINE_string(
    "device", "/cpu:0", "device that the constants and the product are assigned to"
)
FLAGS = tf.app.flags.FLAGS


def main(_):
    with tf.device(FLAGS.device):
        a = tf.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], shape=[2, 3], name="a")
        b = tf.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], shape=[3, 2], name="b")
        c = tf.matmul(a, b, name="c")
    total = tf.reduce_sum(c, name="total")  # no device asked for: placed by the system

    config = tf.ConfigProto(log_device_placement=True)
    with tf.Session(config=config) as sess:
        product, value = sess.run([c, total])
    print("product:")
    print(product)
    print("sum:", value)


if __name__ == "__main__":
    tf.app.run()
