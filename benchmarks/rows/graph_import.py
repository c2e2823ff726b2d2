"""A graph from the bytes of a GraphDef: Inception v3 with its gradients."""

TITLE = "GraphDef import: Inception v3 with gradients"
TABLE = "host"
UNIT = "ops"
GATES = {"tf115": 1.0}
WARM_UP = 1


def build(tf, **sizes):
    import importlib

    made = importlib.import_module("rows.graph_construction").make(tf, **sizes)
    text = made.as_graph_def().SerializeToString()

    def step():
        definition = tf.GraphDef()
        definition.ParseFromString(text)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        return graph

    step.count = len(step().get_operations())
    return step
