"""The parts around a model that a training needs: initialization, readiness, summaries, checkpoints (TensorFlow:
`tf.train.Scaffold`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from flowmesh.core.dtypes import string
from flowmesh.core.platform import tf_logging
from flowmesh.frontend import contrib_resources as resources, variable_collections as variables
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.summary_merge import merge_all
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.ops import control
from flowmesh.ops.concat import concat
from flowmesh.ops.constant import constant
from flowmesh.training.saver import Saver

_SAVED_MODEL_INITIALIZERS = "saved_model_initializers"


class Scaffold:
    """Gathers the parts of a training; those not given are taken from the graph's collections, or made by `finalize`.

    `init_fn(scaffold, session)` runs after `init_op`. TypeError when `copy_from_scaffold` is no Scaffold.
    """

    def __init__(
        self,
        init_op: Any = None,
        init_feed_dict: Any = None,
        init_fn: Callable[[Any, Any], Any] | None = None,
        ready_op: Any = None,
        ready_for_local_init_op: Any = None,
        local_init_op: Any = None,
        summary_op: Any = None,
        saver: Any = None,
        copy_from_scaffold: Scaffold | None = None,
    ) -> None:
        self._user_init_fn = init_fn
        base = copy_from_scaffold
        if base is not None and not isinstance(base, Scaffold):
            raise TypeError("copy_from_scaffold is not a Scaffold instance.")

        def given(value: Any, attribute: str) -> Any:
            return value if value is not None or base is None else getattr(base, attribute)

        self._init_op = given(init_op, "init_op")
        self._init_feed_dict = given(init_feed_dict, "init_feed_dict")
        self._user_init_fn = given(init_fn, "_user_init_fn")
        self._ready_op = given(ready_op, "ready_op")
        self._ready_for_local_init_op = given(ready_for_local_init_op, "ready_for_local_init_op")
        self._local_init_op = given(local_init_op, "local_init_op")
        self._summary_op = given(summary_op, "summary_op")
        self._saver = given(saver, "saver")
        user_fn = self._user_init_fn
        self._init_fn = None if user_fn is None else lambda session: user_fn(self, session)

    def finalize(self) -> Scaffold:
        """Makes what is missing, builds the saver and finalizes the graph.

        Raises RuntimeError when a collection holds several candidates for a part.
        """
        take = Scaffold.get_or_default
        if self._init_op is None:
            self._init_op = take("init_op", GraphKeys.INIT_OP, _default_init_op)
        if self._ready_op is None:
            self._ready_op = take("ready_op", GraphKeys.READY_OP, _default_ready_op)
        if self._ready_for_local_init_op is None:
            self._ready_for_local_init_op = take(
                "ready_for_local_init_op",
                GraphKeys.READY_FOR_LOCAL_INIT_OP,
                _default_ready_for_local_init_op,
            )
        if self._local_init_op is None:
            self._local_init_op = take(
                "local_init_op", GraphKeys.LOCAL_INIT_OP, Scaffold.default_local_init_op
            )
        if self._summary_op is None:
            self._summary_op = take("summary_op", GraphKeys.SUMMARY_OP, merge_all)
        if self._saver is None:
            self._saver = _saver_of_collection()
        self._saver.build()
        get_default_graph().finalize()
        tf_logging.info("Graph was finalized.")
        return self

    @property
    def init_fn(self) -> Callable[[Any], Any] | None:
        """The function that is called with a session after `init_op`, or None."""
        return self._init_fn

    @property
    def init_op(self) -> Any:
        """The operation that initializes the model."""
        return self._init_op

    @property
    def ready_op(self) -> Any:
        """The tensor that names what is not initialized."""
        return self._ready_op

    @property
    def ready_for_local_init_op(self) -> Any:
        """The tensor that names what `local_init_op` still waits for."""
        return self._ready_for_local_init_op

    @property
    def local_init_op(self) -> Any:
        """The operation that every process runs in a new session."""
        return self._local_init_op

    @property
    def summary_op(self) -> Any:
        """The merged summaries, or None."""
        return self._summary_op

    @property
    def saver(self) -> Any:
        """The Saver."""
        return self._saver

    @property
    def init_feed_dict(self) -> Any:
        """What `init_op` is fed."""
        return self._init_feed_dict

    @staticmethod
    def get_or_default(
        arg_name: str, collection_key: str, default_constructor: Callable[[], Any]
    ) -> Any:
        """The one item of a collection, else a new one, which is added to it; RuntimeError when there are several."""
        graph = get_default_graph()
        found = graph.get_collection(collection_key)
        if len(found) > 1:
            raise RuntimeError(
                f'More than one item in the collection "{collection_key}". Please indicate which one to use by passing it '
                f"to the tf.Scaffold constructor as:  tf.Scaffold({arg_name}=item to use)"
            )
        if found:
            return found[0]
        made = default_constructor()
        if made is not None:
            graph.add_to_collection(collection_key, made)
        return made

    @staticmethod
    def default_local_init_op() -> Any:
        """The operation that initializes local variables, tables and local resources."""
        locals_ = variables.local_variables_initializer()
        tables = get_default_graph().get_collection(GraphKeys.TABLE_INITIALIZERS)
        return control.group(
            locals_,
            control.group(*tables, name="init_all_tables")
            if tables
            else control.no_op(name="init_all_tables"),
            resources.initialize_resources(resources.local_resources()),
        )


def _default_init_op() -> Any:
    return control.group(
        variables.global_variables_initializer(),
        resources.initialize_resources(resources.shared_resources()),
        *get_default_graph().get_collection(_SAVED_MODEL_INITIALIZERS),
    )


def _default_ready_op() -> Any:
    every = [*resources.shared_resources(), *resources.local_resources()]
    return concat([variables.report_uninitialized_variables(), _uninitialized(every)], 0)


def _default_ready_for_local_init_op() -> Any:
    names = variables.report_uninitialized_variables(variables.global_variables())
    return concat([names, _uninitialized(resources.shared_resources())], 0)


def _uninitialized(items: list[Any]) -> Any:
    """The names of the resources that are not initialized."""
    scope = None if items else "report_uninitialized_resources"
    with name_scope(scope) if scope else nullcontext(), get_default_graph().device("/cpu:0"):
        if not items:
            return constant([], dtype=string)
        missing = raw.LogicalNot(raw.Pack([item.is_initialized for item in items], axis=0))
        names = convert_to_tensor([item.handle.name for item in items])
        return raw.Reshape(raw.GatherV2(names, raw.Where(missing), 0), [-1])


def _saver_of_collection() -> Any:
    """The saver of the collection SAVERS, else a new sharded one, which is added to it."""
    graph = get_default_graph()
    savers = graph.get_collection(GraphKeys.SAVERS)
    if len(savers) > 1:
        raise RuntimeError(
            f"More than one item in collection {GraphKeys.SAVERS}. Please indicate which one to use by passing it to the "
            "constructor."
        )
    if savers:
        return savers[0]
    saver = Saver(sharded=True, allow_empty=True)
    graph.add_to_collection(GraphKeys.SAVERS, saver)
    return saver
