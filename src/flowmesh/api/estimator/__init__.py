"""Models as functions, trained, evaluated and asked: the names of `tf.estimator`."""

from __future__ import annotations

from flowmesh.api.estimator import inputs as inputs
from flowmesh.training.estimator.canned import (
    DNNClassifier as DNNClassifier,
    DNNRegressor as DNNRegressor,
    LinearClassifier as LinearClassifier,
    LinearRegressor as LinearRegressor,
)
from flowmesh.training.estimator.distributed import (
    train_and_evaluate as train_and_evaluate,
)
from flowmesh.training.estimator.estimator import (
    Estimator as Estimator,
)
from flowmesh.training.estimator.run_config import (
    RunConfig as RunConfig,
)
from flowmesh.training.estimator.spec import (
    EstimatorSpec as EstimatorSpec,
    EvalSpec as EvalSpec,
    ModeKeys as ModeKeys,
    TrainSpec as TrainSpec,
)
