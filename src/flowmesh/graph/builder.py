"""From a call `raw.MatMul(a, b, transpose_a=True)` to a node: binds arguments, converts inputs, solves attrs."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

from flowmesh.core.dtypes import DType, as_dtype
from flowmesh.graph import attrs as attr_values, convert, default_stack
from flowmesh.graph.graph import Graph, get_default_graph
from flowmesh.graph.op_def import ArgDef, AttrDef, OpDef, python_name
from flowmesh.graph.tensor import Tensor


def build(cls: type[OpDef], *args: Any, name: str | None = None, **kwargs: Any) -> Any:
    """Adds a node of type `cls` to the default graph; returns its Tensor(s), or the Operation when it has no output.

    Raises TypeError for missing, unknown or mistyped arguments, ValueError for bad attr values and shapes.
    """
    values, given = _bind(cls, args, kwargs)
    for arg in cls.input_args:
        if arg.is_list and not isinstance(values[arg.name], (list, tuple)):
            raise TypeError(
                f"Expected list for '{arg.name}' argument to '{python_name(cls.op_type)}' Op, not "
                f"{values[arg.name]!r}."
            )
    given = {
        k: attr_values.convert(v, cls.attr_defs[k], cls.op_type)
        for k, v in given.items()
        if v is not None or cls.attr_defs[k].required
    }
    graph = graph_of(list(values.values()))
    with graph.as_default():
        state = graph._state
        name = name or cls.op_type
        scope = graph._scope_for(name)
        old, state.name_stack = state.name_stack, scope
        try:
            inputs, attrs = _solve(cls, values, given)
            definition = cls(attrs)
            with ExitStack() as stack:
                if any(
                    arg.ref for arg in cls.input_args
                ):  # an op runs where the variables it takes live
                    for tensor, arg in zip(inputs, definition.flat_input_args()):
                        if arg.ref:
                            stack.enter_context(graph.colocate_with(tensor.op))
                op = graph.create_operation(definition, inputs, scope + "/")
        finally:
            state.name_stack = old
    return outputs_of(op)


def outputs_of(op: Any) -> Any:
    """What a call that made `op` returns: the Operation, a Tensor, a list, or a namedtuple."""
    definition = op.definition
    args = definition.output_args
    if not op.outputs:
        return op
    grouped = definition.group_outputs(op.outputs)
    if len(args) == 1:
        return grouped[0]
    return _result_type(definition.op_type, tuple(a.name for a in args))(*grouped)


@cache
def _result_type(op_type: str, names: tuple[str, ...]) -> Any:
    return namedtuple(op_type, names, rename=True)


def graph_of(values: Sequence[Any]) -> Graph:
    """The graph of the given tensors, else the default graph; ValueError when they are of several graphs."""
    default = default_stack.graphs.get()
    if default is not None and default.building_function:
        return default  # type: ignore[no-any-return]  # it takes tensors from outside as arguments
    found: Graph | None = None
    first: Any = None
    for value in values:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            graph = getattr(item, "graph", None)
            if isinstance(graph, Graph) and hasattr(item, "name"):
                if found is None:
                    found, first = graph, item
                elif graph is not found:
                    raise ValueError(f"{item} must be from the same graph as {first}.")
    return found if found is not None else get_default_graph()


def _bind(
    cls: type[OpDef], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [a.name for a in cls.input_args]
    if len(args) > len(names):
        names = names + list(cls.attr_defs)
        if len(args) > len(names):
            raise TypeError(
                f"{cls.op_type}() takes {len(names)} arguments but {len(args)} were given"
            )
    bound = dict(zip(names, args))
    for key, value in kwargs.items():
        if key in bound:
            raise TypeError(f"{cls.op_type}() got multiple values for argument '{key}'")
        bound[key] = value
    values: dict[str, Any] = {}
    for arg in cls.input_args:
        if arg.name not in bound:
            raise TypeError(f"No argument for input {arg.name}")
        values[arg.name] = bound.pop(arg.name)
    for key in bound:
        if key not in cls.attr_defs:
            raise TypeError(f"apply_op() got unexpected keyword arguments: {key}")
    return values, bound


def _solve(
    cls: type[OpDef], values: Mapping[str, Any], given: dict[str, Any]
) -> tuple[list[Tensor], dict[str, Any]]:
    solved = dict(given)
    inferred_from: dict[str, str] = {}
    inputs: list[Tensor] = []
    for arg in cls.input_args:
        inputs.extend(_convert_input(cls, arg, values[arg.name], solved, inferred_from))
    complete: dict[str, Any] = {}
    for definition in cls.attr_defs.values():
        if definition.name in solved:
            value = solved[definition.name]
        elif definition.required:
            raise TypeError(f"No argument for attr {definition.name} of {cls.op_type}")
        else:
            value = attr_values.convert(definition.default, definition, cls.op_type)
        attr_values.check_allowed(
            value, definition, cls.op_type, inferred_from.get(definition.name)
        )
        complete[definition.name] = value
    return inputs, complete


def _convert_input(
    cls: type[OpDef], arg: ArgDef, value: Any, solved: dict[str, Any], inferred: dict[str, str]
) -> list[Tensor]:
    if arg.type_list_attr is not None:
        return _convert_types(cls, arg, value, solved)
    dtype, preferred = arg.dtype, None
    if dtype is None:
        attr_name = arg.type_attr or ""
        dtype = solved.get(attr_name)
        default = cls.attr_defs[attr_name].default
        if dtype is None and isinstance(default, DType):
            preferred = default
    if arg.number_attr is not None:
        tensors = _convert_list(cls, arg, value, dtype, preferred)
        count = solved.setdefault(arg.number_attr, len(tensors))
        if count != len(tensors):
            raise ValueError(
                f"List argument '{arg.name}' to '{python_name(cls.op_type)}' Op with length {len(tensors)} must match "
                f"length {count} of argument '{inferred.get(arg.number_attr, arg.number_attr)}'."
            )
        inferred.setdefault(arg.number_attr, arg.name)
        minimum = cls.attr_defs[arg.number_attr].minimum
        if minimum is not None and len(tensors) < minimum:
            raise ValueError(
                f"List argument '{arg.name}' to '{cls.op_type}' Op with length {len(tensors)} shorter than "
                f"minimum length {minimum}."
            )
    else:
        tensors = [_convert_one(cls, arg, value, dtype, preferred, inferred)]
    if arg.dtype is None and tensors:
        _set_type(cls, arg, tensors, solved, inferred)
    elif not tensors and arg.type_attr and arg.type_attr not in solved:
        raise TypeError(
            f"Don't know how to infer type variable from empty input list passed to input '{arg.name}' of "
            f"'{cls.op_type}' Op."
        )
    for tensor in tensors:
        if arg.ref and not tensor.dtype._is_ref_dtype:
            raise TypeError(
                f"'{cls.op_type}' Op requires that input '{arg.name}' be a mutable tensor (e.g.: a tf.Variable)"
            )
    return tensors


def _convert_one(
    cls: type[OpDef],
    arg: ArgDef,
    value: Any,
    dtype: DType | None,
    preferred: DType | None,
    inferred: dict[str, str],
) -> Tensor:
    try:
        tensor = convert.convert_to_tensor(
            value, dtype, arg.name, as_ref=arg.ref, preferred_dtype=preferred
        )
    except TypeError as error:
        if dtype is None:
            raise
        raise TypeError(
            f"Expected {dtype.name} passed to parameter '{arg.name}' of op '{cls.op_type}', got {value!r} of type "
            f"'{type(value).__name__}' instead. Error: {error}"
        ) from None
    except ValueError:
        try:
            observed = convert.convert_to_tensor(value, as_ref=arg.ref).dtype
        except ValueError as error:
            raise ValueError(
                f"Tried to convert '{arg.name}' to a tensor and failed. Error: {error}"
            ) from None
        assert dtype is not None
        prefix = (
            f"Input '{arg.name}' of '{cls.op_type}' Op has type {observed.name} that does not match"
        )
        if arg.dtype is not None:
            raise TypeError(f"{prefix} expected type of {dtype.name}.") from None
        other = inferred.get(arg.type_attr or "", arg.type_attr)
        raise TypeError(f"{prefix} type {dtype.name} of argument '{other}'.") from None
    return tensor


def _convert_list(
    cls: type[OpDef], arg: ArgDef, value: Any, dtype: DType | None, preferred: DType | None
) -> list[Tensor]:
    known = dtype is not None
    if dtype is None:
        dtype = next((item.dtype.base_dtype for item in value if isinstance(item, Tensor)), None)
    try:
        tensors = convert.convert_n_to_tensor(
            value, dtype, arg.name, as_ref=arg.ref, preferred_dtype=preferred
        )
        if len({t.dtype.base_dtype for t in tensors}) <= 1:
            return tensors
    except (TypeError, ValueError):
        pass
    observed = ", ".join(_observed_type(item, arg.ref) for item in value)
    prefix = f"Tensors in list passed to '{arg.name}' of '{cls.op_type}' Op have types [{observed}]"
    if arg.dtype is not None:
        raise TypeError(f"{prefix} that do not match expected type {arg.dtype.name}.")
    if known and dtype is not None:
        raise TypeError(
            f"{prefix} that do not match type {dtype.name} inferred from earlier arguments."
        )
    raise TypeError(f"{prefix} that don't all match.")


def _observed_type(value: Any, ref: bool) -> str:
    try:
        return convert.convert_to_tensor(value, as_ref=ref).dtype.base_dtype.name
    except (TypeError, ValueError):
        return "<NOT CONVERTIBLE TO TENSOR>"


def _convert_types(
    cls: type[OpDef], arg: ArgDef, value: Any, solved: dict[str, Any]
) -> list[Tensor]:
    name = arg.type_list_attr or ""
    wanted = solved.get(name)
    if wanted is not None and len(wanted) != len(value):
        raise ValueError(
            f"List argument '{arg.name}' to '{cls.op_type}' Op has {len(value)} items, attr '{name}' {len(wanted)}."
        )
    tensors = [
        convert.convert_to_tensor(
            item, wanted[i] if wanted else None, f"{arg.name}_{i}", as_ref=arg.ref
        )
        for i, item in enumerate(value)
    ]
    solved[name] = tuple(t.dtype.base_dtype for t in tensors)
    definition = cls.attr_defs[name]
    if definition.minimum is not None and len(tensors) < definition.minimum:
        raise ValueError(
            f"List argument '{arg.name}' to '{cls.op_type}' Op with length {len(tensors)} shorter than "
            f"minimum length {definition.minimum}."
        )
    attr_values.check_allowed(solved[name], definition, cls.op_type, arg.name)
    return tensors


def _set_type(
    cls: type[OpDef],
    arg: ArgDef,
    tensors: Sequence[Tensor],
    solved: dict[str, Any],
    inferred: dict[str, str],
) -> None:
    attr_name = arg.type_attr or ""
    base = tensors[0].dtype.base_dtype
    for tensor in tensors[1:]:
        if tensor.dtype.base_dtype != base:
            raise TypeError(
                f"Tensors in list passed to '{arg.name}' of '{cls.op_type}' Op have types "
                f"[{', '.join(t.dtype.name for t in tensors)}] that don't all match."
            )
    known = solved.get(attr_name)
    if known is None:
        solved[attr_name] = base
        inferred[attr_name] = arg.name
        definition: AttrDef = cls.attr_defs[attr_name]
        attr_values.check_allowed(base, definition, cls.op_type, arg.name)
    elif as_dtype(known) != base:
        raise TypeError(
            f"Input '{arg.name}' of '{cls.op_type}' Op has type {base.name} that does not match type "
            f"{known.name} of argument '{inferred.get(attr_name, attr_name)}'."
        )
