"""What a session can be told about devices, and what it tells: soft placement, the placement log, a full trace.

    python examples/placement_options.py --timeline /tmp/timeline.json

The timeline opens in chrome://tracing and in Perfetto.
"""

import flowmesh as tf
from flowmesh.client.timeline import Timeline

flags = tf.app.flags
flags.DEFINE_string("timeline", "", "file for the trace of one step")
FLAGS = flags.FLAGS


def main(_):
    with tf.device("/gpu:7"):
        a = tf.random_normal([400, 400], seed=1, name="a")
        b = tf.matmul(a, a, name="b")
    trace = tf.reduce_sum(b, name="sum")

    try:
        tf.Session().run(trace)
    except tf.errors.InvalidArgumentError as error:
        print("Without soft placement:", error.message.splitlines()[0])

    config = tf.ConfigProto(allow_soft_placement=True, log_device_placement=True)
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    metadata = tf.RunMetadata()
    with tf.Session(config=config) as sess:
        print("With soft placement:", sess.run(trace, options=options, run_metadata=metadata))
    for device in metadata.step_stats.dev_stats:
        print(device.device)
        for node in device.node_stats:
            print(f"  {node.node_name:30s} {node.all_end_rel_micros:8d} us")
    if FLAGS.timeline:
        with tf.gfile.GFile(FLAGS.timeline, "w") as file:
            file.write(Timeline(metadata.step_stats).generate_chrome_trace_format())
        print("trace written to", FLAGS.timeline)


if __name__ == "__main__":
    tf.app.run()
