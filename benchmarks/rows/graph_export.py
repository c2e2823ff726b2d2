"""Inception v3 with its gradients as the bytes of a GraphDef."""

TITLE = "GraphDef export: Inception v3 with gradients"
TABLE = "host"
UNIT = "ops"
GATES = {"tf115": 1.0}
WARM_UP = 1


def build(tf, **sizes):
    import importlib

    graph = importlib.import_module("rows.graph_construction").make(tf, **sizes)

    def step():
        return graph.as_graph_def().SerializeToString()

    step.count = len(graph.get_operations())
    return step
