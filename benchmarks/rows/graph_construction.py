"""Building the graph of Inception v3 with its gradients."""

TITLE = "graph construction: Inception v3 with gradients"
TABLE = "host"
UNIT = "ops"
GATES = {"tf115": 1.0}
WARM_UP = 1
ROUNDS = 5


def make(tf, network="inception_v3", **sizes):
    """A new graph of a network in training and the gradients of its loss."""
    from models import tf1

    size = sizes.pop("size", tf1.IMAGE_SIZE[network])
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [32, size, size, 3])
        y = tf.placeholder(tf.int64, [32])
        logits = tf1.NETWORKS[network](tf1.Builder(tf, "NHWC", training=True), x, **sizes)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        tf.gradients(tf.reduce_mean(losses), tf.trainable_variables())
    return graph


def build(tf, **sizes):
    def step():
        return make(tf, **sizes)

    step.count = len(make(tf, **sizes).get_operations())
    return step
