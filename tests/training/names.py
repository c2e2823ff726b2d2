"""`tf`: the names that these tests use, taken from the modules they test and from those below."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flowmesh import ops as _all_ops  # noqa: F401  (registers every op)
from flowmesh.client.session import Session
from flowmesh.core import dtypes, errors
from flowmesh.core.cluster_spec import ClusterSpec
from flowmesh.frontend import meta_graph, variable_collections
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.resource_variable import ResourceVariable
from flowmesh.frontend.summary_merge import merge, merge_all
from flowmesh.frontend.variable_scope import get_variable, variable_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.importer import import_graph_def
from flowmesh.graph.raw import raw
from flowmesh.ops import control, gather
from flowmesh.ops.constant import constant
from flowmesh.ops.placeholder import placeholder
from flowmesh.ops.reduce_functions import reduce_mean, reduce_sum
from flowmesh.proto import config_pb2, graph_pb2
from flowmesh.proto.summary_pb2 import Summary
from flowmesh.summaries import summary, writer
from flowmesh.training import (
    adam,
    checkpoint_management,
    checkpoint_reader,
    coordinator,
    device_setter,
    global_step,
    graph_io,
    graph_util,
    learning_rate_decay,
    moving_averages,
    optimizer,
    optimizers,
    queue_runner,
    saver,
    session_manager,
    supervisor,
)

ORACLE = Path(__file__).parents[1] / "oracle"


def _public(*modules: Any) -> SimpleNamespace:
    found: dict[str, Any] = {}
    for module in modules:
        found.update({k: v for k, v in vars(module).items() if not k.startswith("_")})
    return SimpleNamespace(**found)


def _device(name: Any) -> Any:
    return get_default_graph().device(name)


def _control_dependencies(inputs: Any) -> Any:
    return get_default_graph().control_dependencies(inputs)


def _gather(params: Any, indices: Any) -> Any:
    if isinstance(params, ResourceVariable):
        return params.sparse_read(indices)
    return gather.gather(params, indices)


tf = SimpleNamespace(
    ClusterSpec=ClusterSpec,
    ConfigProto=config_pb2.ConfigProto,
    Graph=Graph,
    GraphDef=graph_pb2.GraphDef,
    GraphKeys=GraphKeys,
    Session=Session,
    Summary=Summary,
    Variable=Variable,
    add=raw.Add,
    constant=constant,
    contrib=SimpleNamespace(training=device_setter),
    control_dependencies=_control_dependencies,
    device=_device,
    errors=errors,
    float32=dtypes.float32,
    gather=_gather,
    get_default_graph=get_default_graph,
    get_variable=get_variable,
    global_variables_initializer=variable_collections.global_variables_initializer,
    graph_util=graph_util,
    group=control.group,
    import_graph_def=import_graph_def,
    int32=dtypes.int32,
    name_scope=name_scope,
    placeholder=placeholder,
    raw_ops=raw,
    reduce_mean=reduce_mean,
    reduce_sum=reduce_sum,
    summary=_public(summary, writer),
    train=_public(
        adam,
        checkpoint_management,
        checkpoint_reader,
        coordinator,
        device_setter,
        global_step,
        graph_io,
        learning_rate_decay,
        moving_averages,
        optimizer,
        optimizers,
        queue_runner,
        saver,
        session_manager,
        supervisor,
    ),
    variable_scope=variable_scope,
)
tf.train.export_meta_graph = meta_graph.export_meta_graph
tf.summary.merge, tf.summary.merge_all = merge, merge_all


def recorded(section: str) -> Any:
    """What TensorFlow made of a part of `tests/oracle/training_cases.py`."""
    return json.loads((ORACLE / "training.json").read_text())[section]
