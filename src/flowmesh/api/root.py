"""The names of `import flowmesh as tf` itself; loaded when the first of them is used."""

from __future__ import annotations

from flowmesh.api import (
    app as app,
    compat as compat,
    contrib as contrib,
    data as data,
    debugging as debugging,
    dtypes as dtypes,
    errors as errors,
    estimator as estimator,
    feature_column as feature_column,
    flags as flags,
    gfile as gfile,
    graph_util as graph_util,
    image as image,
    initializers as initializers,
    io as io,
    keras as keras,
    layers as layers,
    linalg as linalg,
    logging as logging,
    losses as losses,
    manip as manip,
    math as math,
    metrics as metrics,
    nest as nest,
    nn as nn,
    python_io as python_io,
    queue as queue,
    random as random,
    sparse as sparse,
    strings as strings,
    summary as summary,
    test as test,
    train as train,
    wiring as _wiring,
)
from flowmesh.api.compat_v0 import (
    SparseTensor as SparseTensor,
    all_variables as all_variables,
    arg_max as arg_max,
    arg_min as arg_min,
    batch_matmul as batch_matmul,
    complex_abs as complex_abs,
    concat as concat,
    concat_v2 as concat_v2,
    histogram_summary as histogram_summary,
    image_summary as image_summary,
    initialize_all_variables as initialize_all_variables,
    initialize_local_variables as initialize_local_variables,
    initialize_variables as initialize_variables,
    inv as inv,
    merge_all_summaries as merge_all_summaries,
    merge_summary as merge_summary,
    mul as mul,
    neg as neg,
    pack as pack,
    scalar_summary as scalar_summary,
    select as select,
    split as split,
    sub as sub,
    unpack as unpack,
)
from flowmesh.api.root_ops import *
from flowmesh.client.session import (
    InteractiveSession as InteractiveSession,
    Session as Session,
)
from flowmesh.core.device_spec import (
    DeviceSpec as DeviceSpec,
)
from flowmesh.core.dtypes import (
    DType as DType,
    as_dtype as as_dtype,
    bfloat16 as bfloat16,
    bool as bool,
    complex64 as complex64,
    complex128 as complex128,
    double as double,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    half as half,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    qint8 as qint8,
    qint16 as qint16,
    qint32 as qint32,
    quint8 as quint8,
    quint16 as quint16,
    resource as resource,
    string as string,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
    variant as variant,
)
from flowmesh.core.errors import (
    OpError as OpError,
)
from flowmesh.core.shapes import (
    Dimension as Dimension,
    TensorShape as TensorShape,
    dimension_value as dimension_value,
)
from flowmesh.frontend.data.structure import TensorSpec as TensorSpec
from flowmesh.frontend.functional import (
    foldl as foldl,
    foldr as foldr,
    map_fn as map_fn,
    scan as scan,
)
from flowmesh.frontend.graph_functions import (
    add_to_collection as add_to_collection,
    add_to_collections as add_to_collections,
    colocate_with as colocate_with,
    container as container,
    control_dependencies as control_dependencies,
    control_flow_v2_enabled as control_flow_v2_enabled,
    device as device,
    disable_control_flow_v2 as disable_control_flow_v2,
    disable_eager_execution as disable_eager_execution,
    disable_tensor_equality as disable_tensor_equality,
    disable_v2_behavior as disable_v2_behavior,
    disable_v2_tensorshape as disable_v2_tensorshape,
    enable_eager_execution as enable_eager_execution,
    enable_v2_behavior as enable_v2_behavior,
    executing_eagerly as executing_eagerly,
    get_collection as get_collection,
    get_collection_ref as get_collection_ref,
    get_static_value as get_static_value,
    is_tensor as is_tensor,
    op_scope as op_scope,
)
from flowmesh.frontend.initializers import (
    Constant as constant_initializer,
    Ones as ones_initializer,
    Orthogonal as orthogonal_initializer,
    RandomNormal as random_normal_initializer,
    RandomUniform as random_uniform_initializer,
    TruncatedNormal as truncated_normal_initializer,
    UniformUnitScaling as uniform_unit_scaling_initializer,
    VarianceScaling as variance_scaling_initializer,
    Zeros as zeros_initializer,
    glorot_normal_initializer as glorot_normal_initializer,
    glorot_uniform_initializer as glorot_uniform_initializer,
)
from flowmesh.frontend.metrics_confusion import (
    confusion_matrix as confusion_matrix,
)
from flowmesh.frontend.naming import (
    init_scope as init_scope,
    name_scope as name_scope,
)
from flowmesh.frontend.partitioners import (
    fixed_size_partitioner as fixed_size_partitioner,
    min_max_variable_partitioner as min_max_variable_partitioner,
    variable_axis_size_partitioner as variable_axis_size_partitioner,
)
from flowmesh.frontend.template import (
    make_template as make_template,
)
from flowmesh.frontend.tensor_protos import (
    make_ndarray as make_ndarray,
    make_tensor_proto as make_tensor_proto,
)
from flowmesh.frontend.variable_collections import (
    assert_variables_initialized as assert_variables_initialized,
    global_variables as global_variables,
    global_variables_initializer as global_variables_initializer,
    is_variable_initialized as is_variable_initialized,
    local_variables as local_variables,
    local_variables_initializer as local_variables_initializer,
    model_variables as model_variables,
    moving_average_variables as moving_average_variables,
    report_uninitialized_variables as report_uninitialized_variables,
    trainable_variables as trainable_variables,
    variables_initializer as variables_initializer,
)
from flowmesh.frontend.variable_scope import (
    VariableScope as VariableScope,
    create_partitioned_variables as create_partitioned_variables,
    disable_resource_variables as disable_resource_variables,
    enable_resource_variables as enable_resource_variables,
    get_local_variable as get_local_variable,
    get_variable as get_variable,
    get_variable_scope as get_variable_scope,
    no_regularizer as no_regularizer,
    resource_variables_enabled as resource_variables_enabled,
    variable_creator_scope as variable_creator_scope,
    variable_op_scope as variable_op_scope,
    variable_scope as variable_scope,
)
from flowmesh.frontend.variable_store import (
    AUTO_REUSE as AUTO_REUSE,
)
from flowmesh.frontend.variables import (
    Variable as Variable,
    VariableAggregation as VariableAggregation,
    VariableSynchronization as VariableSynchronization,
)
from flowmesh.graph.collections import (
    GraphKeys as GraphKeys,
)
from flowmesh.graph.composite import (
    IndexedSlices as IndexedSlices,
    SparseTensorValue as SparseTensorValue,
    convert_to_tensor_or_indexed_slices as convert_to_tensor_or_indexed_slices,
    convert_to_tensor_or_sparse_tensor as convert_to_tensor_or_sparse_tensor,
)
from flowmesh.graph.convert import (
    convert_to_tensor as convert_to_tensor,
    register_tensor_conversion_function as register_tensor_conversion_function,
)
from flowmesh.graph.default_stack import (
    get_default_session as get_default_session,
)
from flowmesh.graph.gradients import (
    AggregationMethod as AggregationMethod,
    RegisterGradient as RegisterGradient,
    UnconnectedGradients as UnconnectedGradients,
    gradients as gradients,
    hessians as hessians,
    no_gradient as NoGradient,
    no_gradient as NotDifferentiable,
    no_gradient as no_gradient,
)
from flowmesh.graph.graph import (
    Graph as Graph,
    get_default_graph as get_default_graph,
    reset_default_graph as reset_default_graph,
)
from flowmesh.graph.importer import (
    import_graph_def as import_graph_def,
)
from flowmesh.graph.operation import (
    Operation as Operation,
)
from flowmesh.graph.random_seed import (
    get_seed as get_seed,
    set_random_seed as set_random_seed,
)
from flowmesh.graph.raw import (
    raw as raw_ops,
)
from flowmesh.graph.tensor import (
    Tensor as Tensor,
)
from flowmesh.proto.attr_value_pb2 import (
    AttrValue as AttrValue,
    NameAttrList as NameAttrList,
)
from flowmesh.proto.config_pb2 import (
    ConfigProto as ConfigProto,
    GPUOptions as GPUOptions,
    GraphOptions as GraphOptions,
    OptimizerOptions as OptimizerOptions,
    RunMetadata as RunMetadata,
    RunOptions as RunOptions,
)
from flowmesh.proto.event_pb2 import (
    Event as Event,
    LogMessage as LogMessage,
    SessionLog as SessionLog,
)
from flowmesh.proto.graph_pb2 import (
    GraphDef as GraphDef,
)
from flowmesh.proto.meta_graph_pb2 import (
    MetaGraphDef as MetaGraphDef,
    TensorInfo as TensorInfo,
)
from flowmesh.proto.node_def_pb2 import (
    NodeDef as NodeDef,
)
from flowmesh.proto.summary_pb2 import (
    HistogramProto as HistogramProto,
    Summary as Summary,
    SummaryMetadata as SummaryMetadata,
)

newaxis = None
VERSION = "1.15.0"
"""The version of TensorFlow whose API this is."""

GIT_VERSION = "flowmesh"
COMPILER_VERSION = "XLA"
GRAPH_DEF_VERSION = 134
GRAPH_DEF_VERSION_MIN_CONSUMER = 0
GRAPH_DEF_VERSION_MIN_PRODUCER = 0

__all__ = sorted(n for n in globals() if not n.startswith("_") and n != "annotations")  # noqa: PLE0605
"""Every name above: the list is this file itself, and `tests/api/public_names.txt`."""
