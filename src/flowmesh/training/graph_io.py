"""Writing graphs to files (TensorFlow: `tf.train.write_graph`)."""

from __future__ import annotations

import os
from typing import Any

from flowmesh.frontend.meta_graph import write_message
from flowmesh.graph.graph import Graph


def write_graph(graph_or_graph_def: Any, logdir: Any, name: str, as_text: bool = True) -> str:
    """Writes a Graph or GraphDef to `logdir/name`, in text or binary form, and returns the path.

    The file appears in one piece, so several workers may write it. Raises ValueError for a graph over 2 GB.
    """
    if isinstance(graph_or_graph_def, Graph):
        graph_def = graph_or_graph_def.as_graph_def()
    else:
        graph_def = graph_or_graph_def
    path = os.path.join(os.fspath(logdir), name)
    write_message(graph_def, path, as_text)
    return path
