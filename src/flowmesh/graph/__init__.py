"""The graph layer: op definitions, graphs, operations, tensors, scopes, gradients, GraphDef."""
