"""Training: the names of `tf.train`."""

from __future__ import annotations

from flowmesh.core.cluster_spec import (
    ClusterSpec as ClusterSpec,
)
from flowmesh.distributed.server import (
    Server as Server,
)
from flowmesh.proto.cluster_pb2 import (
    ClusterDef as ClusterDef,
    JobDef as JobDef,
)
from flowmesh.proto.example_pb2 import (
    Example as Example,
    SequenceExample as SequenceExample,
)
from flowmesh.proto.feature_pb2 import (
    BytesList as BytesList,
    Feature as Feature,
    FeatureList as FeatureList,
    FeatureLists as FeatureLists,
    Features as Features,
    FloatList as FloatList,
    Int64List as Int64List,
)
from flowmesh.proto.saver_pb2 import (
    SaverDef as SaverDef,
)
from flowmesh.proto.tensorflow_server_pb2 import (
    ServerDef as ServerDef,
)
from flowmesh.training.adam import (
    AdamOptimizer as AdamOptimizer,
)
from flowmesh.training.device_setter import (
    replica_device_setter as replica_device_setter,
)
from flowmesh.training.global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
    global_step as global_step,
)
from flowmesh.training.learning_rate_decay import (
    cosine_decay as cosine_decay,
    cosine_decay_restarts as cosine_decay_restarts,
    exponential_decay as exponential_decay,
    inverse_time_decay as inverse_time_decay,
    linear_cosine_decay as linear_cosine_decay,
    natural_exp_decay as natural_exp_decay,
    piecewise_constant as piecewise_constant,
    polynomial_decay as polynomial_decay,
)
from flowmesh.training.moving_averages import (
    ExponentialMovingAverage as ExponentialMovingAverage,
)
from flowmesh.training.optimizer import (
    Optimizer as Optimizer,
)
from flowmesh.training.optimizers import (
    AdadeltaOptimizer as AdadeltaOptimizer,
    AdagradDAOptimizer as AdagradDAOptimizer,
    AdagradOptimizer as AdagradOptimizer,
    FtrlOptimizer as FtrlOptimizer,
    GradientDescentOptimizer as GradientDescentOptimizer,
    MomentumOptimizer as MomentumOptimizer,
    ProximalAdagradOptimizer as ProximalAdagradOptimizer,
    ProximalGradientDescentOptimizer as ProximalGradientDescentOptimizer,
    RMSPropOptimizer as RMSPropOptimizer,
)

__all__ = [
    "AdadeltaOptimizer",
    "AdagradDAOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "BytesList",
    "ClusterDef",
    "ClusterSpec",
    "Example",
    "ExponentialMovingAverage",
    "Feature",
    "FeatureList",
    "FeatureLists",
    "Features",
    "FloatList",
    "FtrlOptimizer",
    "GradientDescentOptimizer",
    "Int64List",
    "JobDef",
    "MomentumOptimizer",
    "Optimizer",
    "ProximalAdagradOptimizer",
    "ProximalGradientDescentOptimizer",
    "RMSPropOptimizer",
    "SaverDef",
    "SequenceExample",
    "Server",
    "ServerDef",
    "assert_global_step",
    "cosine_decay",
    "cosine_decay_restarts",
    "create_global_step",
    "exponential_decay",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
    "inverse_time_decay",
    "linear_cosine_decay",
    "natural_exp_decay",
    "piecewise_constant",
    "polynomial_decay",
    "replica_device_setter",
]
