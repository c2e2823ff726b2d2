"""The hooks that come with the system (TensorFlow: `tf.train.*Hook`)."""

from __future__ import annotations

from flowmesh.training.hooks_files import (
    CheckpointSaverHook as CheckpointSaverHook,
    CheckpointSaverListener as CheckpointSaverListener,
    ProfilerHook as ProfilerHook,
    SummarySaverHook as SummarySaverHook,
)
from flowmesh.training.hooks_steps import (
    FeedFnHook as FeedFnHook,
    FinalOpsHook as FinalOpsHook,
    GlobalStepWaiterHook as GlobalStepWaiterHook,
    LoggingTensorHook as LoggingTensorHook,
    NanLossDuringTrainingError as NanLossDuringTrainingError,
    NanTensorHook as NanTensorHook,
    StepCounterHook as StepCounterHook,
    StopAtStepHook as StopAtStepHook,
)
from flowmesh.training.hooks_support import (
    NeverTriggerTimer as NeverTriggerTimer,
    SecondOrStepTimer as SecondOrStepTimer,
)
