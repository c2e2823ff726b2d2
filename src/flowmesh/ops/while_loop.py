"""`tf.while_loop`: the nodes of a loop, as TensorFlow 1.15 builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flowmesh.core.shapes import TensorShape
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.composite import IndexedSlices, SparseTensor
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.constant import constant
from flowmesh.ops.loops import enter, is_constant_enter, leave
from flowmesh.ops.naming import name_scope
from flowmesh.ops.structure import assert_same, flatten, map_leaves, pack
from flowmesh.ops.switch_merge import add_back_edge, merge, shape_fits, switch_ref_or_tensor
from flowmesh.ops.tensor_array import TensorArray, with_flow
from flowmesh.ops.while_context import WhileContext


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
    maximum_iterations: Any = None,
    return_same_structure: bool = False,
) -> Any:
    """Repeats `body` while `cond` is true (tf.while_loop); returns the loop variables as they are in the end.

    Both functions are called once, with tensors in the structure of `loop_vars` (lists, tuples, namedtuples, dicts of tensors,
    TensorArrays, IndexedSlices, SparseTensors): `cond` returns a scalar bool, `body` the variables for the next iteration, with the
    same dtypes and with shapes as specific as those at the start, or as `shape_invariants`.

    Args:
      parallel_iterations, swap_memory: kept in the graph; iterations run one after the other here.
      back_prop: False keeps gradients from going through the loop.
      maximum_iterations: a scalar: the loop ends after so many iterations.
      return_same_structure: whether a single loop variable is returned in its list.

    Raises TypeError for what is not callable or another structure, ValueError for no loop variables or shapes that vary.
    """
    if not callable(cond):
        raise TypeError("cond must be callable.")
    if not callable(body):
        raise TypeError("body must be callable.")
    if parallel_iterations < 1:
        raise TypeError("parallel_iterations must be a positive integer.")
    with name_scope(name, "while", _graph_elements(loop_vars)):
        if not loop_vars:
            raise ValueError("No loop variables provided")
        if maximum_iterations is not None:
            maximum_iterations = convert_to_tensor(maximum_iterations, name="maximum_iterations")
            if maximum_iterations.shape.ndims != 0:
                raise ValueError(
                    f"maximum_iterations must be a scalar, saw shape: {maximum_iterations.shape}"
                )
            single = len(loop_vars) == 1 and not return_same_structure
            cond, body, loop_vars = _counted(cond, body, loop_vars, maximum_iterations, single)
            if shape_invariants is not None:
                shape_invariants = (
                    TensorShape([]),
                    shape_invariants[0] if single else shape_invariants,
                )
        if shape_invariants is not None:
            assert_same(loop_vars, _as_leaves(shape_invariants))
        context = WhileContext(maximum_iterations, parallel_iterations, back_prop, swap_memory)
        if context.outer_context is None:
            get_default_graph().add_to_collection(GraphKeys.WHILE_CONTEXT, context)
        result = _Loop(context, loop_vars).build(
            cond, body, shape_invariants, return_same_structure
        )
        return result[1] if maximum_iterations is not None else result


def _graph_elements(values: Any) -> list[Any]:
    """The top level of `values`, as `name_scope` takes it."""
    return list(values.values()) if isinstance(values, dict) else list(values)


def _counted(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    limit: Tensor,
    single: bool,
) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, Any]]:
    """The same loop with a counter as its first variable that ends it at `limit`."""
    counter = constant(0, dtype=limit.dtype, name="iteration_counter")

    def goes_on(i: Tensor, rest: Any) -> Any:
        within = raw.Less(i, limit)
        return raw.LogicalAnd(within, cond(rest) if single else cond(*rest))

    def step(i: Tensor, rest: Any) -> Any:
        return i + 1, body(rest) if single else body(*rest)

    return goes_on, step, (counter, loop_vars[0] if single else loop_vars)


def _as_leaves(invariants: Any) -> Any:
    """Shapes, which look like sequences, as leaves."""
    return map_leaves(lambda leaf: None, invariants)


class _Loop:
    """One loop while its nodes are made."""

    def __init__(self, context: WhileContext, loop_vars: Any) -> None:
        self.context = context
        self.loop_vars = loop_vars
        self.leaves = flatten(loop_vars)
        self.graph = get_default_graph()

    def build(
        self,
        cond: Callable[..., Any],
        body: Callable[..., Any],
        shape_invariants: Any,
        same_structure: bool,
    ) -> Any:
        """Makes the nodes; returns the results in the structure that the body returned."""
        variables = _as_tensors(self.leaves)
        shapes = self._invariants(variables, shape_invariants)
        with self.context.entered():
            result, exits = self._build(cond, body, variables, shapes)
        packed = _packed(result, iter(exits))
        if same_structure or len(exits) != 1:
            return packed
        return packed[0] if isinstance(packed, (list, tuple)) else packed

    def _invariants(self, variables: list[Tensor], given: Any) -> list[TensorShape]:
        if given is None:
            return [t.shape for t in variables]
        shapes: list[TensorShape] = []
        for leaf, shape in zip(self.leaves, flatten(given)):
            if not isinstance(shape, TensorShape):
                raise ValueError("`shapes` must be a (possibly nested) list of shapes.")
            shapes.extend(_part_shapes(leaf, shape))
        return shapes

    def _build(
        self,
        cond: Callable[..., Any],
        body: Callable[..., Any],
        variables: list[Tensor],
        shapes: list[TensorShape],
    ) -> tuple[Any, list[Tensor]]:
        context = self.context
        merged = [merge([t, t])[0] for t in self._enters(variables, shapes)]
        context.pivot_for_pred = merged[0]
        arguments = _arguments(_packed(self.loop_vars, iter(merged)))
        context.pivot = raw.LoopCond(convert_to_tensor(cond(*arguments)), name="LoopCond")
        switched = [switch_ref_or_tensor(t, context.pivot) for t in merged]
        inside = [_identity(pair[1]) for pair in switched]
        context.pivot_for_body = inside[0]
        packed = _arguments(_packed(self.loop_vars, iter(inside)))
        result = self._with_summaries(body, packed)
        if not isinstance(result, (list, tuple, dict)):
            result = [result]
        assert_same(list(packed), list(result))
        following = _as_tensors(flatten(result))
        if len(merged) != len(following):
            raise ValueError(
                f"Number of inputs and outputs of body must match loop_vars: {len(merged)}, {len(following)}"
            )
        for before, after in zip(merged, following):
            add_back_edge(before, after)
        exits = [leave(pair[0]) for pair in switched]
        context.loop_exits = exits
        context.exit_result(exits)
        return result, exits

    def _enters(self, variables: list[Tensor], shapes: list[TensorShape]) -> list[Tensor]:
        context, outer = self.context, self.context.outer_context
        context.set_values(variables)
        real = variables if outer is None else [outer.add_value(t) for t in variables]
        with self.graph.control_dependencies(None):
            enters = [
                enter(
                    t,
                    context.name,
                    parallel_iterations=context.parallel_iterations,
                    use_input_shape=False,
                )
                for t in real
            ]
            for tensor in enters:
                self.graph.prevent_feeding(tensor)
                if outer is not None:
                    outer.inner_op_added(tensor.op)
        self._wait_outside(enters)
        for tensor, result, shape in zip(real, enters, shapes):
            if not shape_fits(tensor.shape, shape):
                raise ValueError(
                    f"The shape invariant specified for {tensor.name} is not compatible with the initial shape of the "
                    f"loop variable. It enters the loop with shape {tensor.shape}, but the specified shape invariant "
                    f"is {shape}."
                )
            result.set_shape(shape)
        context.adopt(enters)
        context.set_values(enters)
        context.loop_enters = enters
        return enters

    def _wait_outside(self, enters: list[Tensor]) -> None:
        """An invariant of the loop around this one enters once in each of its iterations."""
        outer, pivot = self.context.outer_context, None
        while outer is not None and pivot is None:
            pivot = outer.control_pivot
            outer = outer.outer_context
        if pivot is not None:
            for tensor in enters:
                if is_constant_enter(tensor.op.inputs[0].op):
                    tensor.op._add_control_input(pivot.op)

    def _with_summaries(self, body: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """What the body returns; summaries that it makes run in each iteration."""
        summaries = self.graph.get_collection_ref("_SUMMARY_V2")
        before = len(summaries)
        result = body(*arguments)
        if len(summaries) == before:
            return result
        new = list(summaries[before:])
        del summaries[before:]
        with self.graph.control_dependencies(new):
            return map_leaves(
                lambda x: x if isinstance(x, TensorArray) else raw.Identity(x), result
            )


def _arguments(packed: Any) -> list[Any]:
    return list(packed)


def _identity(tensor: Tensor) -> Tensor:
    result: Tensor = (raw.RefIdentity if tensor.dtype._is_ref_dtype else raw.Identity)(tensor)
    return result


def _as_tensors(leaves: Sequence[Any]) -> list[Tensor]:
    """The leaves as tensors: flows for TensorArrays, the parts of sparse values."""
    tensors: list[Tensor] = []
    for leaf in leaves:
        if isinstance(leaf, TensorArray):
            tensors.append(leaf.flow)
        elif isinstance(leaf, IndexedSlices):
            tensors += [leaf.values, leaf.indices]
            if leaf.dense_shape is not None:
                tensors.append(leaf.dense_shape)
        elif isinstance(leaf, SparseTensor):
            tensors += [leaf.indices, leaf.values, leaf.dense_shape]
        else:
            tensors.append(convert_to_tensor(leaf))
    return tensors


def _part_shapes(leaf: Any, shape: TensorShape) -> list[TensorShape]:
    """The shapes of the tensors of a leaf whose invariant is `shape`."""
    if isinstance(leaf, IndexedSlices):
        rank = shape.ndims
        first = TensorShape(None if rank is None else [shape.as_list()[0]])
        parts = [shape, first]
        return parts if leaf.dense_shape is None else [*parts, TensorShape([rank])]
    if isinstance(leaf, SparseTensor):
        rank = shape.as_list()[0]
        return [TensorShape([None, rank]), TensorShape([None]), TensorShape([rank])]
    return [shape]


def _packed(structure: Any, tensors: Iterator[Tensor]) -> Any:
    """The structure with its leaves made of new tensors."""

    def build(leaf: Any) -> Any:
        if isinstance(leaf, TensorArray):
            return with_flow(leaf, next(tensors))
        if isinstance(leaf, IndexedSlices):
            values, indices = next(tensors), next(tensors)
            dense = None if leaf.dense_shape is None else next(tensors)
            return IndexedSlices(values, indices, dense)
        if isinstance(leaf, SparseTensor):
            return SparseTensor(next(tensors), next(tensors), next(tensors))
        return next(tensors)

    leaves = flatten(structure)
    return pack(structure, iter([build(leaf) for leaf in leaves]))
