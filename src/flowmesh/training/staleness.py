"""Asynchronous training that knows how old its gradients are: `StalenessAwareOptimizer`, Flowmesh's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32, int32
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import control
from flowmesh.ops.cast import cast
from flowmesh.ops.control_flow import cond
from flowmesh.training.global_step import get_global_step
from flowmesh.training.hooks_steps import GlobalStepWaiterHook
from flowmesh.training.optimizer import Optimizer
from flowmesh.training.session_run_hook import SessionRunHook


def inverse_staleness(staleness: Any) -> Any:
    """1 / staleness, and 1 for a fresh gradient: the learning rate of staleness-aware asynchronous SGD (Zhang et al., 2016)."""
    return 1.0 / raw.Maximum(staleness, np.float32(1.0))


class StalenessAwareOptimizer(Optimizer):
    """Applies gradients by `opt` and measures their staleness; scales old gradients, or drops them.

    The staleness of a gradient is its age in global steps: how many updates, by all replicas together, were applied between the
    reading of the parameters that it was computed from and its arrival. Every replica builds the same graph, as for any asynchronous
    training; `global_step` is needed.

    * `scale` makes of the staleness (a float32 scalar) the factor of a gradient; `"inverse"` is 1 / max(1, staleness). An optimizer that
      normalizes gradients (Adam, RMSProp ...) takes most of that back: use `max_staleness` with it.
    * A gradient older than `max_staleness` steps is dropped: neither variables nor slots nor the global step change.
    * Until the global step has reached `warmup_steps` only the chief trains, if the sessions of all replicas have the hook of
      `make_session_run_hook`.

    The staleness of the last `window` gradients of all replicas is kept beside the global step, in saved variables. The collection SUMMARIES
    gets `<name>/staleness` (the last one), `<name>/mean_staleness` and `<name>/dropped` as scalars, and `<name>/staleness_histogram`.
    """

    def __init__(
        self,
        opt: Optimizer,
        max_staleness: int | None = None,
        scale: str | Callable[[Any], Any] | None = None,
        warmup_steps: int = 0,
        window: int = 256,
        use_locking: bool = False,
        name: str = "staleness_aware",
    ) -> None:
        """Raises ValueError for a negative `max_staleness` or `warmup_steps`, a `window` below 1, or an unknown `scale`."""
        super().__init__(use_locking, name)
        for what, value, least in (
            ("max_staleness", 0 if max_staleness is None else max_staleness, 0),
            ("warmup_steps", warmup_steps, 0),
            ("window", window, 1),
        ):
            if value < least:
                raise ValueError(f"{what} must be {least} or more, not {value}")
        if scale == "inverse":
            scale = inverse_staleness
        if scale is not None and not callable(scale):
            raise ValueError(
                f"scale must be 'inverse', a function of the staleness, or None, not {scale!r}"
            )
        self._opt = opt
        self._max_staleness = max_staleness
        self._scale = scale
        self._warmup_steps = warmup_steps
        self._window = window
        self._started: dict[Any, Any] = {}
        self._staleness: Any = None
        self._records: dict[Any, _Record] = {}
        self._record: _Record | None = None

    # -- gradients -------------------------------------------------------------------------------------------

    def compute_gradients(self, loss: Any, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
        """As `compute_gradients` of the optimizer inside; the gradients also wait for the global step that the step began with.

        Raises ValueError for a graph without a global step.
        """
        pairs = self._opt.compute_gradients(loss, *args, **kwargs)
        step = get_global_step()
        if step is None:
            raise ValueError(
                "StalenessAwareOptimizer needs a global step: call tf.train.get_or_create_global_step() first."
            )
        with name_scope(self._name):
            started = self._start(step, [g for g, _ in pairs if g is not None])
            return [(_after(started, grad), variable) for grad, variable in pairs]

    def _start(self, global_step: Any, grads: list[Any]) -> Any:
        """The global step as it is when the step begins, read where the gradients are computed."""
        graph = get_default_graph()
        if (graph, global_step) not in self._started:
            first = grads[0].values if isinstance(grads[0], IndexedSlices) else grads[0]
            with graph.device(first.device):
                self._started[graph, global_step] = raw.Identity(
                    global_step.value(), name="started"
                )
        return self._started[graph, global_step]

    def apply_gradients(
        self, grads_and_vars: Iterable[Any], global_step: Any = None, name: str | None = None
    ) -> Any:
        """The operation that measures the gradients' staleness, and applies, scales or drops them.

        Raises ValueError without `global_step` or gradients.
        """
        pairs = list(grads_and_vars)
        grads = [grad for grad, _ in pairs if grad is not None]
        if not grads:
            raise ValueError(
                f"No gradients provided for any variable: {[str(v) for _, v in pairs]}."
            )
        if global_step is None:
            raise ValueError("StalenessAwareOptimizer needs the global_step to measure staleness.")
        graph = get_default_graph()
        if (graph, global_step) not in self._records:
            self._records[graph, global_step] = _Record(self._name, global_step, self._window)
        self._record = record = self._records[graph, global_step]
        with name_scope(name, self._name) as scope:
            started = self._start(global_step, grads)
            with graph.device(global_step.device):
                with graph.control_dependencies([_tensor(g).op for g in grads]):
                    now = global_step.read_value()
                self._staleness = raw.Sub(now, started, name="age")
                noted = record.note(self._staleness)
                factor = None
                if self._scale is not None:
                    factor = self._scale(cast(self._staleness, float32))
            pairs = [(_scaled(grad, factor, v), v) for grad, v in pairs]
            with graph.control_dependencies([noted]):
                update = self._update_or_drop(pairs, global_step, record)
            return control.group(update, name=scope)

    def _update_or_drop(self, pairs: list[Any], global_step: Any, record: _Record) -> Any:
        if self._max_staleness is None:
            return self._opt.apply_gradients(pairs, global_step=global_step)
        graph = get_default_graph()
        with graph.device(global_step.device):
            limit = np.asarray(self._max_staleness, global_step.dtype.base_dtype.as_numpy_dtype)
            fresh = raw.LessEqual(self._staleness, limit, name="fresh")

        def drop() -> Any:
            return record.drop()

        return cond(fresh, lambda: self._opt.apply_gradients(pairs, global_step=global_step), drop)

    # -- what is measured --------------------------------------------------------------------------------------

    @property
    def staleness(self) -> Any:
        """The staleness of the gradient of this replica's step, a scalar of the global step's dtype."""
        self._applied()
        return self._staleness

    @property
    def mean_staleness(self) -> Any:
        """The mean over the last `window` gradients of all replicas, a float32 scalar; 0 before the first."""
        return self._applied().mean

    @property
    def recent_staleness(self) -> Any:
        """The staleness of the last gradients of all replicas in no certain order, an int32 vector of at most `window`."""
        return self._applied().recent

    @property
    def dropped(self) -> Any:
        """How many gradients of all replicas were dropped, an int64 variable."""
        return self._applied().dropped

    def _applied(self) -> _Record:
        if self._record is None:
            raise ValueError("There is no staleness before apply_gradients() was called.")
        return self._record

    def make_session_run_hook(self, is_chief: bool) -> SessionRunHook:
        """The hook by which other replicas than the chief wait with their first step until the warm-up is over."""
        return SessionRunHook() if is_chief else GlobalStepWaiterHook(self._warmup_steps)

    # -- the optimizer inside ------------------------------------------------------------------------------------

    def get_slot(self, var: Any, name: str) -> Any:
        """As `get_slot` of the optimizer inside."""
        return self._opt.get_slot(var, name)

    def get_slot_names(self) -> list[str]:
        """As `get_slot_names` of the optimizer inside."""
        return self._opt.get_slot_names()

    def variables(self) -> list[Any]:
        """The variables of the optimizer inside."""
        return self._opt.variables()


class _Record:
    """The staleness of the last gradients, in variables beside the global step."""

    def __init__(self, name: str, global_step: Any, window: int) -> None:
        self._name = name
        self._device = global_step.device
        self._window = window
        make: Any = Variable
        with init_scope(), name_scope(""), get_default_graph().device(self._device):
            self._ages = make(
                np.zeros(window, np.int32),
                trainable=False,
                use_resource=False,
                name=f"{name}/recent",
            )
            self._count = make(np.int64(0), trainable=False, name=f"{name}/count")
            self.dropped = make(np.int64(0), trainable=False, name=f"{name}/dropped")
            known = raw.Minimum(self._count.value(), np.int64(window))
            some = raw.Maximum(known, np.int64(1))
            self.recent = self._ages.value()[: cast(known, int32)]
            total = raw.Sum(cast(self.recent, float32), np.int32(0))
            self.mean = raw.RealDiv(total, cast(some, float32), name=f"{name}/mean")
            at = cast(
                raw.FloorMod(raw.Maximum(self._count.value() - 1, np.int64(0)), np.int64(window)),
                int32,
            )
            self._last = self._ages.value()[at]
            self._shown = self._ages.value()[: cast(some, int32)]
            self._summarize()

    def note(self, staleness: Any) -> Any:
        """The operation that keeps the staleness of one more gradient."""
        with get_default_graph().control_dependencies([staleness.op]):
            number = self._count.assign_add(1)
        at = cast(raw.FloorMod(number - 1, np.int64(self._window)), int32)
        return raw.ScatterUpdate(self._ages._ref(), at, cast(staleness, int32), name="note").op

    def drop(self) -> Any:
        """The operation that counts a gradient that is dropped."""
        with get_default_graph().device(self._device):
            return self.dropped.assign_add(1).op

    def _summarize(self) -> None:
        """Adds the summaries to the graph."""
        graph = get_default_graph()
        scalars = {
            "staleness": cast(self._last, float32),
            "mean_staleness": self.mean,
            "dropped": cast(self.dropped.value(), float32),
        }
        with graph.device(self._device):
            made = [
                raw.ScalarSummary(_text(f"{self._name}/{what}"), value, name=f"{what}_summary")
                for what, value in scalars.items()
            ]
            tag = _text(f"{self._name}/staleness_histogram")
            made.append(
                raw.HistogramSummary(tag, cast(self._shown, float32), name="histogram_summary")
            )
        for summary in made:
            graph.add_to_collection(GraphKeys.SUMMARIES, summary)


def _text(text: str) -> Any:
    return np.array(text.encode(), object)


def _tensor(grad: Any) -> Any:
    return grad.values if isinstance(grad, IndexedSlices) else grad


def _after(started: Any, grad: Any) -> Any:
    """The gradient, once the global step was read."""
    if grad is None:
        return None
    values = _tensor(grad)
    graph = get_default_graph()
    with graph.device(values.device), graph.control_dependencies([started.op]):
        values = raw.Identity(values, name="gradient")
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(values, grad.indices, grad.dense_shape)
    return values


def _scaled(grad: Any, factor: Any, variable: Any) -> Any:
    """The gradient times the factor, multiplied where the variable is."""
    if grad is None or factor is None:
        return grad
    values = _tensor(grad)
    with get_default_graph().device(variable.device):
        values = raw.Mul(values, cast(factor, values.dtype), name="scaled")
    if isinstance(grad, IndexedSlices):
        return IndexedSlices(values, grad.indices, grad.dense_shape)
    return values
