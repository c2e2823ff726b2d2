"""Variable scopes: names, sharing and defaults for `get_variable` (TensorFlow: `tf.variable_scope`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend import variables
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.variable_store import AUTO_REUSE, VariableStore
from flowmesh.graph.builder import graph_of
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import Graph, get_default_graph

_OPTIONS = (
    "initializer", "regularizer", "caching_device", "partitioner", "custom_getter", "use_resource", "constraint",
)  # fmt: skip
_use_resource_by_default = False


class VariableScope:
    """The defaults that `get_variable` takes from the enclosing `with variable_scope(...)`."""

    def __init__(
        self,
        reuse: Any,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = float32,
        use_resource: Any = None,
        constraint: Any = None,
    ) -> None:
        self._name = name
        self._reuse = reuse
        self._name_scope = name_scope
        self._dtype = dtype
        self.options: dict[str, Any] = {
            "initializer": initializer,
            "regularizer": regularizer,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "custom_getter": custom_getter,
            "use_resource": use_resource,
            "constraint": constraint,
        }

    @property
    def name(self) -> str:
        """The prefix of variable names, without the last slash."""
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The name scope that was opened with the variable scope."""
        return self._name_scope

    @property
    def reuse(self) -> Any:
        """False, True or AUTO_REUSE."""
        return self._reuse

    @property
    def dtype(self) -> Any:
        """The default dtype."""
        return self._dtype

    def reuse_variables(self) -> None:
        """From now on only variables that exist may be asked for."""
        self._reuse = True

    def set_dtype(self, dtype: Any) -> None:
        """Sets the default dtype."""
        self._dtype = dtype

    def get_collection(self, name: str) -> list[Any]:
        """The items of a collection that lie in this scope."""
        scope = self._name + "/" if self._name else self._name
        return get_default_graph().get_collection(name, scope)

    def trainable_variables(self) -> list[Any]:
        """The trainable variables of this scope."""
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Any]:
        """The global variables of this scope."""
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        """The local variables of this scope."""
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def get_variable(
        self, store: VariableStore, name: str, shape: Any = None, dtype: Any = None, **options: Any
    ) -> Any:
        """The variable `name` of this scope, from `store`; options given as None come from the scope."""
        for key in _OPTIONS:
            if options.get(key) is None:
                options[key] = self.options[key]
        reuse = options.get("reuse")
        options["reuse"] = self._reuse if reuse is None else reuse
        if dtype is None:
            given = getattr(options["initializer"], "dtype", None)
            dtype = self._dtype if given is None or callable(options["initializer"]) else given
        full_name = f"{self._name}/{name}" if self._name else name
        getter = options.pop("custom_getter")
        partitioner = options.pop("partitioner")
        # variables are named by variable scopes alone, not by name scopes
        with name_scope(None):
            return _through_getter(getter, store, full_name, shape, dtype, options, partitioner)

    def __repr__(self) -> str:
        return f"<VariableScope {self._name!r} reuse={self._reuse}>"


for _option in _OPTIONS:

    def _getter(self: Any, key: str = _option) -> Any:
        return self.options[key]

    def _setter(self: Any, value: Any, key: str = _option) -> None:
        self.options[key] = value

    setattr(VariableScope, _option, property(_getter))
    setattr(VariableScope, f"set_{_option}", _setter)


def _through_getter(
    getter: Any,
    store: VariableStore,
    name: str,
    shape: Any,
    dtype: Any,
    options: dict[str, Any],
    partitioner: Any,
) -> Any:
    def base(
        name: str,
        shape: Any = None,
        dtype: Any = float32,
        partitioner: Any = None,
        **kwargs: Any,
    ) -> Any:
        merged = {**options, **{k: v for k, v in kwargs.items() if k in options}}
        return store.get_variable(name, shape, dtype, merged, partitioner)

    if getter is None:
        return base(name, shape, dtype, partitioner)
    if not callable(getter):
        raise ValueError(f"Passed a custom_getter which is not callable: {getter}")
    if options.get("trainable") is None:
        options["trainable"] = True
    return getter(base, name=name, shape=shape, dtype=dtype, partitioner=partitioner, **options)


_ATTRIBUTE = "_flowmesh_variables"


class _GraphVariables:
    """What variable scopes keep on a graph: the store, and each thread's current scope."""

    def __init__(self) -> None:
        self.store = VariableStore()
        self.current = threading.local()

    @property
    def scope(self) -> VariableScope:
        """This thread's current scope."""
        if not hasattr(self.current, "scope"):
            self.current.scope = VariableScope(False)
        return self.current.scope

    @scope.setter
    def scope(self, scope: VariableScope) -> None:
        self.current.scope = scope


def _of(graph: Graph) -> _GraphVariables:
    found = graph.__dict__.get(_ATTRIBUTE)
    if found is None:
        with graph.lock:
            found = graph.__dict__.setdefault(_ATTRIBUTE, _GraphVariables())
    return found


def get_variable_scope() -> VariableScope:
    """The current variable scope."""
    return _of(get_default_graph()).scope


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Any = None,
    constraint: Any = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Any:
    """The variable `name` of the current scope: an existing one when the scope reuses, else a new one.

    Raises ValueError when it exists and the scope does not reuse, or the other way round, and for shapes that differ.
    """
    held = _of(get_default_graph())
    return held.scope.get_variable(
        held.store,
        name,
        shape,
        dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        custom_getter=custom_getter,
        constraint=constraint,
    )


def create_partitioned_variables(
    shape: Sequence[int],
    slicing: Sequence[int],
    initializer: Any,
    dtype: Any = float32,
    trainable: bool = True,
    collections: Any = None,
    name: str | None = None,
    reuse: Any = None,
) -> list[Any]:
    """The parts of a new variable that is cut into `slicing[i]` parts along axis i (tf.create_partitioned_variables).

    `initializer` is a tensor of `shape`, or a function that is called once for each part. Raises ValueError when `slicing`
    does not fit `shape` or cuts more than one axis.
    """
    if len(shape) != len(slicing):
        raise ValueError(
            "The 'shape' and 'slicing' of a partitioned Variable must have the length: shape: "
            f"{shape}, slicing: {slicing}"
        )
    if not shape:
        raise ValueError(f"A partitioned Variable must have rank at least 1: shape: {shape}")
    with variable_scope(name, "PartitionedVariable", reuse=reuse) as scope:
        with name_scope(None):
            options = {key: scope.options[key] for key in _OPTIONS}
            options.update(
                initializer=initializer,
                trainable=trainable,
                collections=collections,
                reuse=scope.reuse,
                validate_shape=True,
            )
            store = _of(get_default_graph()).store
            parts = store.get_variable(scope.name, shape, dtype, options, lambda **_: slicing)
        return list(parts)


def get_local_variable(name: str, *args: Any, **kwargs: Any) -> Any:
    """As `get_variable`, but local to this process and not trainable."""
    collections = kwargs.pop("collections", None) or []
    kwargs["collections"] = [*collections, GraphKeys.LOCAL_VARIABLES]
    kwargs["trainable"] = False
    return get_variable(name, *args, **kwargs)


class variable_scope:
    """Context manager: a scope for `get_variable`, and a name scope of the same name.

    `variable_scope(name_or_scope, default_name=None, values=None, initializer=None, regularizer=None, caching_device=None,
    partitioner=None, custom_getter=None, reuse=None, dtype=None, use_resource=None, constraint=None,
    auxiliary_name_scope=True)`. Usable again after the end of the `with`.
    """

    def __init__(
        self,
        name_or_scope: Any,
        default_name: str | None = None,
        values: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Any = None,
        dtype: Any = None,
        use_resource: bool | None = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if name_or_scope is None and default_name is None:
            raise TypeError("If default_name is None then name_or_scope is required")
        if name_or_scope is not None and not isinstance(name_or_scope, (str, VariableScope)):
            raise TypeError("VariableScope: name_or_scope must be a string or VariableScope.")
        if reuse is False:
            reuse = None
        if not (reuse is True or reuse is None or reuse is AUTO_REUSE):
            raise ValueError("The reuse parameter must be True or False or None.")
        self._name_or_scope = name_or_scope
        self._default_name = default_name
        self._values = values
        self._reuse = reuse
        self._dtype = dtype
        self._auxiliary = auxiliary_name_scope
        self._given = {
            "initializer": initializer,
            "regularizer": regularizer,
            "caching_device": caching_device,
            "partitioner": partitioner,
            "custom_getter": custom_getter,
            "use_resource": use_resource,
            "constraint": constraint,
        }
        self._entered: list[Any] = []

    def __enter__(self) -> VariableScope:
        context = self._open()
        self._entered.append(context)
        return context.__enter__()

    def __exit__(self, *exc: Any) -> Any:
        return self._entered.pop().__exit__(*exc)

    @contextmanager
    def _open(self) -> Iterator[VariableScope]:
        graph = graph_of(list(self._values)) if self._values else get_default_graph()
        with graph.as_default():
            held = _of(graph)
            old = held.scope
            counts = dict(held.store.scope_counts)
            name = self._scope_name(held, old)
            opened = self._name_scope(name)
            with opened as scope_name:
                held.scope = self._made(old, name, scope_name)
                _count(held.store, held.scope.name)
                try:
                    yield held.scope
                finally:
                    held.scope = old
                    _restore_counts(held.store, counts, name)

    def _scope_name(self, held: _GraphVariables, old: VariableScope) -> str:
        given = self._name_or_scope
        if isinstance(given, VariableScope):
            return given.name
        if given is not None:
            name = given
        else:
            if self._reuse is True:
                raise ValueError("reuse=True cannot be used without a name_or_scope")
            name = _unique(held.store, old.name, self._default_name or "")
        return f"{old.name}/{name}" if old.name and name else (old.name or name)

    @contextmanager
    def _name_scope(self, full_name: str) -> Iterator[str]:
        if not self._auxiliary:
            current = get_default_graph().get_name_scope()
            yield current + "/" if current else ""
            return
        given = self._name_or_scope
        if isinstance(given, VariableScope):
            own = given.name.rpartition("/")[2]
            without = given.original_name_scope
        else:
            own = given or self._default_name or ""
            without = get_default_graph().get_name_scope()
        if not own:
            yield without
            return
        with name_scope(own) as scope:
            yield scope

    def _made(self, old: VariableScope, name: str, scope_name: str) -> VariableScope:
        given = self._name_or_scope
        base = given if isinstance(given, VariableScope) else old
        if isinstance(given, VariableScope):
            reuse = self._reuse if self._reuse is not None else given.reuse
            original = given.original_name_scope
        else:
            reuse = self._reuse or old.reuse
            original = scope_name
        options = {k: v if v is not None else base.options[k] for k, v in self._given.items()}
        outer = base.options["custom_getter"]
        inner = self._given["custom_getter"]
        if inner is not None and outer is not None:
            options["custom_getter"] = _compose(outer, inner)
        dtype = self._dtype if self._dtype is not None else base.dtype
        return VariableScope(reuse, name, name_scope=original, dtype=dtype, **options)


def _compose(outer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    def getter(base: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def wrapped(*a: Any, **k: Any) -> Any:
            return outer(base, *a, **k)

        return inner(wrapped, *args, **kwargs)

    return getter


def _count(store: VariableStore, name: str) -> None:
    store.scope_counts[name] = store.scope_counts.get(name, 0) + 1


def _restore_counts(store: VariableStore, counts: dict[str, int], name: str) -> None:
    """Scopes opened inside a scope that is left may get the same default names again."""
    prefix = name + "/"
    for key in list(store.scope_counts):
        if key.startswith(prefix):
            store.scope_counts[key] = 0
    for key, value in counts.items():
        if key.startswith(prefix):
            store.scope_counts[key] = value


def _unique(store: VariableStore, outer: str, prefix: str) -> str:
    base = f"{outer}/{prefix}" if outer else prefix
    if not store.scope_counts.get(base):
        return prefix
    index = 1
    while store.scope_counts.get(f"{base}_{index}"):
        index += 1
    return f"{prefix}_{index}"


def variable_op_scope(
    values: Any, name_or_scope: Any, default_name: str | None = None, **kwargs: Any
) -> variable_scope:
    """The old order of arguments of `variable_scope`."""
    return variable_scope(name_or_scope, default_name=default_name, values=values, **kwargs)


def no_regularizer(_: Any) -> None:
    """A regularizer that regularizes nothing, to override the scope's."""


@contextmanager
def variable_creator_scope(variable_creator: Callable[..., Any]) -> Iterator[None]:
    """Calls `variable_creator(next_creator, **kwargs)` for each variable made inside."""
    graph: Any = get_default_graph()
    old = getattr(graph, "_variable_creators", [])
    graph._variable_creators = [*old, variable_creator]
    try:
        yield
    finally:
        graph._variable_creators = old


def enable_resource_variables() -> None:
    """Makes resource variables the default."""
    global _use_resource_by_default
    _use_resource_by_default = True


def disable_resource_variables() -> None:
    """Makes ref variables the default again."""
    global _use_resource_by_default
    _use_resource_by_default = False


def resource_variables_enabled() -> bool:
    """Whether variables are resource variables by default."""
    return _use_resource_by_default


def _default_use_resource() -> bool:
    asked = get_variable_scope().options["use_resource"]
    return _use_resource_by_default if asked is None else asked


variables.set_default_use_resource(_default_use_resource)
