"""``import tensorflow`` meaning Flowmesh: one table of module paths and one import finder.

`install` puts a finder in front of `sys.meta_path`; from then on ``tensorflow`` and everything
below it is looked up here, never on disk. A path is resolved in this order:

1. an entry of `ALIASES` (module paths, and dotted names inside a module);
2. the attribute of the same name below the nearest entry: ``tensorflow.contrib.layers`` is
   ``flowmesh.contrib.layers``, because ``tensorflow`` itself is ``flowmesh``;
3. a bare namespace, when other entries lie below it (``tensorflow.python``);
4. otherwise an `ImportError` that names the path and what there is instead.

``tensorflow`` and its namespaces are thin `AliasModule` objects that read through to the real
ones, not those objects themselves. The import system binds every imported sub-module to its
parent, so with the real package in its place ``import tensorflow.core.framework`` would overwrite
``flowmesh.core``. A module of the table with nothing below it is the real module.

Nothing is imported before a program asks for it, and targets need not exist yet.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

TENSORFLOW_VERSION = "1.15.0"
"""The version of TensorFlow whose behaviour programs find, as ``tf.__version__`` tells them."""


def disable_v2_behavior() -> None:
    """Do nothing: there is no second behaviour to disable. Programs written for both call it."""


# Flowmesh object -> the TensorFlow module paths (without the leading "tensorflow.") that mean it.
_MODULES: dict[str, str] = {
    "flowmesh": """
        python.framework.constant_op python.framework.device python.framework.dtypes
        python.framework.importer python.framework.load_library python.framework.ops
        python.framework.random_seed python.framework.sparse_tensor
        python.framework.tensor_shape python.framework.tensor_spec python.framework.tensor_util
        python.framework.versions python.client.session
        python.ops.array_ops python.ops.check_ops python.ops.clip_ops python.ops.confusion_matrix
        python.ops.control_flow_ops python.ops.data_flow_ops python.ops.functional_ops
        python.ops.gradients python.ops.gradients_impl python.ops.histogram_ops
        python.ops.init_ops python.ops.io_ops python.ops.linalg_ops python.ops.logging_ops
        python.ops.map_fn python.ops.math_ops python.ops.parsing_ops
        python.ops.partitioned_variables python.ops.random_ops
        python.ops.resource_variable_ops python.ops.script_ops python.ops.session_ops
        python.ops.sparse_ops python.ops.special_math_ops python.ops.standard_ops
        python.ops.state_ops python.ops.string_ops python.ops.template
        python.ops.tensor_array_ops python.ops.variable_scope python.ops.variables
        """,
    "flowmesh.app": "python.platform.app",
    "flowmesh.client.timeline": "python.client.timeline",
    "flowmesh.compat": "python.util.compat",
    "flowmesh.contrib.learn.datasets.mnist": """
        examples.tutorials.mnist.input_data contrib.learn.python.learn.datasets.mnist
        """,
    "flowmesh.contrib.framework": """
        contrib.framework contrib.framework.python.framework contrib.framework.python.ops
        """,
    "flowmesh.contrib.all_reduce": "contrib.all_reduce.python.all_reduce",
    "flowmesh.contrib.mnist_tutorial": "examples.tutorials.mnist.mnist",
    "flowmesh.contrib.nccl": "contrib.nccl contrib.nccl.python.ops.nccl_ops",
    "flowmesh.contrib.staging": "contrib.staging",
    "flowmesh.contrib.data": """
        contrib.data contrib.data.python.ops contrib.data.python.ops.batching
        contrib.data.python.ops.interleave_ops
        """,
    "flowmesh.contrib.layers": """
        contrib.layers contrib.layers.python.layers contrib.layers.python.layers.layers
        contrib.layers.python.layers.initializers contrib.layers.python.layers.regularizers
        """,
    "flowmesh.contrib.rnn": """
        contrib.rnn contrib.rnn.python.ops contrib.rnn.python.ops.core_rnn
        contrib.rnn.python.ops.core_rnn_cell contrib.rnn.python.ops.rnn_cell
        """,
    "flowmesh.data": "python.data python.data.ops.dataset_ops python.data.ops.iterator_ops",
    "flowmesh.errors": "python.framework.errors python.framework.errors_impl",
    "flowmesh.flags": "python.platform.flags",
    "flowmesh.gfile": "python.platform.gfile python.lib.io.file_io",
    "flowmesh.graph_util": "python.framework.graph_util python.framework.graph_util_impl",
    "flowmesh.image": "python.ops.image_ops python.ops.image_ops_impl",
    "flowmesh.layers": """
        python.layers.layers python.layers.base python.layers.convolutional python.layers.core
        python.layers.normalization python.layers.pooling python.layers.utils
        """,
    "flowmesh.logging": "python.platform.tf_logging",
    "flowmesh.losses": "python.ops.losses python.ops.losses.losses python.ops.losses.losses_impl",
    "flowmesh.metrics": "python.ops.metrics python.ops.metrics_impl",
    "flowmesh.nest": "python.util.nest",
    "flowmesh.nn": """
        python.ops.candidate_sampling_ops python.ops.ctc_ops python.ops.embedding_ops
        python.ops.nn python.ops.nn_impl python.ops.nn_ops python.ops.rnn models.rnn.rnn
        """,
    "flowmesh.nn.rnn_cell": """
        python.ops.rnn_cell python.ops.rnn_cell_impl models.rnn.rnn_cell
        """,
    "flowmesh.python_io": "python.lib.io.python_io python.lib.io.tf_record",
    "flowmesh.runtime.device": "python.client.device_lib",
    "flowmesh.saved_model": """
        python.saved_model python.saved_model.builder python.saved_model.loader
        python.saved_model.signature_constants python.saved_model.signature_def_utils
        python.saved_model.tag_constants python.saved_model.utils
        """,
    "flowmesh.summary": """
        python.summary.summary python.summary.writer.writer python.summary.writer.writer_cache
        """,
    "flowmesh.test": "python.platform.test python.platform.googletest",
    "flowmesh.train": """
        python.pywrap_tensorflow python.framework.graph_io python.framework.meta_graph
        python.summary.summary_iterator python.training.adadelta python.training.adagrad
        python.training.adagrad_da python.training.adam
        python.training.basic_session_run_hooks python.training.checkpoint_management
        python.training.checkpoint_utils python.training.coordinator
        python.training.device_setter python.training.ftrl python.training.gradient_descent
        python.training.input python.training.learning_rate_decay python.training.momentum
        python.training.monitored_session python.training.moving_averages
        python.training.optimizer python.training.proximal_adagrad
        python.training.proximal_gradient_descent python.training.queue_runner
        python.training.queue_runner_impl python.training.rmsprop python.training.saver
        python.training.server_lib python.training.session_manager
        python.training.session_run_hook python.training.supervisor
        python.training.sync_replicas_optimizer python.training.training
        python.training.training_util
        """,
}

# Names inside such a module that are spelled otherwise, or lie elsewhere, in the public interface.
_NAMES: dict[str, str] = {
    "__version__": "flowmesh.tensorflow_alias.TENSORFLOW_VERSION",
    "VERSION": "flowmesh.tensorflow_alias.TENSORFLOW_VERSION",
    "compat.v1": "flowmesh",
    "disable_v2_behavior": "flowmesh.tensorflow_alias.disable_v2_behavior",
    "python.framework.ops.NullContextmanager": "contextlib.nullcontext",
    "python.framework.random_seed.set_random_seed": "flowmesh.set_random_seed",
    "python.framework.tensor_util.constant_value": "flowmesh.get_static_value",
    "python.ops.data_flow_ops.Barrier": "flowmesh.contrib.staging.Barrier",
    "python.ops.data_flow_ops.MapStagingArea": "flowmesh.contrib.staging.MapStagingArea",
    "python.ops.data_flow_ops.RecordInput": "flowmesh.contrib.staging.RecordInput",
    "python.ops.data_flow_ops.StagingArea": "flowmesh.contrib.staging.StagingArea",
    "python.ops.resources.initialize_resources": "flowmesh.contrib.resources.initialize_resources",
    "python.ops.resources.shared_resources": "flowmesh.contrib.resources.shared_resources",
    "python.layers.utils.smart_cond": "flowmesh.contrib.framework.smart_cond",
    "python.training.moving_averages.assign_moving_average": (
        "flowmesh.training.moving_averages.assign_moving_average"
    ),
}

# Protocol buffers: tensorflow.<folder>.<name>_pb2 is flowmesh.proto.<name>_pb2.
_PROTOS: dict[str, str] = {
    "core.example": "example feature",
    "core.framework": """
        allocation_description attr_value cost_graph device_attributes function graph node_def
        op_def resource_handle step_stats summary tensor tensor_description tensor_shape
        tensor_slice types variable versions
        """,
    "core.lib.core": "error_codes",
    "core.protobuf": """
        cluster config control_flow debug error_codes master meta_graph named_tensor
        queue_runner rewriter_config saved_model saved_object_graph saver struct tensor_bundle
        tensorflow_server trackable_object_graph verifier_config worker
        """,
    "core.util": "event saved_tensor_slice",
    "python.training": "checkpoint_state",
}


def _build_aliases() -> dict[str, str]:
    table = {"tensorflow": "flowmesh"}
    for target, paths in _MODULES.items():
        table.update((f"tensorflow.{path}", target) for path in paths.split())
    for folder, names in _PROTOS.items():
        table.update(
            (f"tensorflow.{folder}.{name}_pb2", f"flowmesh.proto.{name}_pb2")
            for name in names.split()
        )
    table.update((f"tensorflow.{name}", target) for name, target in _NAMES.items())
    return table


ALIASES: dict[str, str] = _build_aliases()
"""Module path or dotted name in TensorFlow -> dotted path of the Flowmesh object it means."""

_V1 = "tensorflow.compat.v1"
# Bare namespaces whose name is also that of an inner Flowmesh package, which they do not mean.
_NAMESPACES = frozenset({"tensorflow.core"})
_FORWARDED = frozenset({"__file__", "__all__"})
_MISSING = object()


class _NoModuleError(ImportError):
    """A path below ``tensorflow`` that Flowmesh has nothing for."""


class AliasModule(ModuleType):
    """A TensorFlow module path that reads through to a Flowmesh namespace, if it has one."""

    def __init__(self, name: str, target: object = None) -> None:
        super().__init__(name)
        self.__doc__ = getattr(target, "__doc__", None)
        self.__path__: list[str] = []
        self.__dict__["__alias_target__"] = target

    def __getattr__(self, name: str) -> Any:
        target = self.__dict__.get("__alias_target__")
        path = f"{self.__name__}.{name}"
        if path in ALIASES or path in _parents:
            try:
                return _load_name(path)
            except _NoModuleError as error:
                raise AttributeError(str(error), name=name, obj=self) from error
        if name == "__all__" and not hasattr(target, "__all__"):
            return [public for public in dir(self) if not public.startswith("_")]
        if not (name.startswith("__") and name.endswith("__")) or name in _FORWARDED:
            value = getattr(target, name, _MISSING)
            if value is not _MISSING:
                return value
        message = f"module {self.__name__!r} has no attribute {name!r}"
        if isinstance(target, ModuleType):
            message += f" (it means {target.__name__} of Flowmesh, which has none)"
        raise AttributeError(message, name=name, obj=self)

    def __dir__(self) -> list[str]:
        target = self.__dict__.get("__alias_target__")
        own = [name for name in self.__dict__ if name != "__alias_target__"]
        return sorted({*own, *_children(self.__name__), *(dir(target) if target else ())})

    def __repr__(self) -> str:
        target = self.__dict__.get("__alias_target__")
        return f"<module {self.__name__!r}: Flowmesh, {target!r}>"


class _Finder(MetaPathFinder, Loader):
    """Finds ``tensorflow`` and every path below it; see the module's text for the order."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow" and not fullname.startswith("tensorflow."):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        spec.loader_state = module = _load_module(spec.name)
        # Only a module made here may be given this spec; a real one keeps its own.
        return module if isinstance(module, AliasModule) and module.__spec__ is None else None

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        sys.modules[spec.name] = spec.loader_state
        _loaded.add(spec.name)


_finder = _Finder()
_loaded: set[str] = set()
_parents: set[str] = set()
"""Every path that has entries of the table below it; filled by `install`."""


def install() -> None:
    """Make ``import tensorflow`` mean Flowmesh from now on. A second call does nothing."""
    if _finder in sys.meta_path:
        return
    if "tensorflow" in sys.modules:
        where = getattr(sys.modules["tensorflow"], "__file__", None)
        raise RuntimeError(f"tensorflow is already imported from {where}; install the alias first")
    for path in ALIASES:
        while path := path.rpartition(".")[0]:
            _parents.add(path)
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo `install` and forget every module that was imported through it."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in _loaded:
        sys.modules.pop(name, None)
    _loaded.clear()
    _parents.clear()


def resolve(dotted: str) -> Any:
    """The object at `dotted`, importing as many leading parts as are modules.

    Raises LookupError when there is none. An ImportError of another module passes through.
    """
    first, *rest = dotted.split(".")
    found: Any = _import_if_there(first)
    path = first
    for part in rest:
        path += f".{part}"
        module = _import_if_there(path) if isinstance(found, ModuleType) else None
        found = module if module is not None else getattr(found, part, None)
        if found is None:
            break
    if found is None:
        raise LookupError(dotted)
    return found


def _import_if_there(path: str) -> ModuleType | None:
    """Import module `path`; None when it, and not something that it needs, is missing."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
            return None
        raise


def _load_module(name: str) -> ModuleType:
    """The module that import path `name` means; ImportError when there is none."""
    if f"{name}.".startswith(f"{_V1}."):
        return importlib.import_module("tensorflow" + name.removeprefix(_V1))
    target = _target(name)
    if target is None:
        if name in _parents and name not in ALIASES:
            return AliasModule(name)
        raise _no_module(name)
    if isinstance(target, ModuleType) and name in ALIASES and name not in _parents:
        return target
    return AliasModule(name, target)


def _load_name(path: str) -> Any:
    """The object an attribute of an `AliasModule` means, for paths that the table knows."""
    if path in _parents or path == _V1:
        return importlib.import_module(path)
    try:
        target = resolve(ALIASES[path])
    except LookupError:
        raise _no_module(path) from None
    return importlib.import_module(path) if isinstance(target, ModuleType) else target


def _target(name: str) -> Any:
    """The namespace in Flowmesh that module path `name` reads through to, or None."""
    if name in _NAMESPACES:
        return None
    base, rest = name, ""
    while base not in ALIASES:
        base, _, part = base.rpartition(".")
        rest = f".{part}{rest}"
    try:
        found = resolve(ALIASES[base])
        for part in rest.split(".")[1:]:
            found = getattr(found, part)
    except (LookupError, AttributeError):
        return None
    return found if isinstance(found, ModuleType | SimpleNamespace) else None


def _children(path: str) -> Iterator[str]:
    """The next parts of the table's paths below `path` (repeats included)."""
    prefix = path + "."
    for alias in ALIASES:
        if alias.startswith(prefix):
            yield alias[len(prefix) :].partition(".")[0]


def _no_module(name: str) -> _NoModuleError:
    """The error for a path that is not in the table, or whose target is not there yet."""
    if name in ALIASES:
        message = f"{name!r} means {ALIASES[name]!r}, which this version of Flowmesh does not have."
    else:
        message = f"Flowmesh has nothing for {name!r}."
    near = difflib.get_close_matches(name, ALIASES, n=1, cutoff=0.85)
    if near and near[0] != name:
        message += f" Did you mean {near[0]!r}?"
    parent = name.rpartition(".")[0]
    while parent not in ALIASES and parent not in _parents:
        parent = parent.rpartition(".")[0]
    below = sorted({part for part in _children(parent) if not part.startswith("_")})
    listed = ", ".join(below) or "its public names"
    message += f" Supported below {parent!r}: {listed}"
    if parent == "tensorflow":
        message += ", and the public names of flowmesh"
    message += ". The whole list is flowmesh.tensorflow_alias.ALIASES."
    return _NoModuleError(message, name=name)
