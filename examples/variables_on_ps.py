"""Variables placed on parameter servers by a device function: where each one stands, and its protobuf description.

python examples/variables_on_ps.py
"""

import flowmesh as tf

cluster = tf.train.ClusterSpec(
    {
        "ps": ["ps0:2222", "ps1:2222"],
        "worker": ["worker0:2222", "worker1:2222", "worker2:2222"],
    }
)

with tf.device(tf.train.replica_device_setter(cluster=cluster)):
    v1 = tf.Variable(tf.zeros([784, 100]), name="weights_1")
    v2 = tf.Variable(tf.zeros([100]), name="biases_1")
    v3 = tf.Variable(tf.zeros([100, 10]), name="weights_2")
    total = tf.reduce_sum(tf.matmul(v1, v3) + tf.reduce_sum(v2), name="total")

for variable in (v1, v2, v3):
    print(f"{variable.name:14s} on {variable.device}")
print(f"{total.name:14s} on {total.device}")
print()
print(v1.to_proto())
