"""How the optimizer update ops are made: on refs or resources, on whole variables or on some rows.

An optimizer is a function from the values of its variables and operands to the new values of the variables. `optimizer`
registers the ops made from it: on refs or resources, on whole variables or on the rows that `indices` names (the
function then sees those rows, and equal indices are handled one after another).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import INDEX, NUMBERS
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.row_updates import update_rows
from flowmesh.ops.shape_rules import merge, same_size, scalar_input, with_rank

Array: TypeAlias = Any
Update: TypeAlias = Callable[..., Any]

_GPU_TYPES = frozenset({dtypes.float16, dtypes.float32, dtypes.float64})
_PIECE = 1 << 15
"""Elements of a variable that are updated at a time."""
_GRADIENTS = ("grad", "delta")


def _brackets(shape: Any) -> str:
    return f"[{','.join(map(str, shape))}]"


def _invalid(message: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(None, None, message)


class _OptimizerOp(OpDef, abstract=True):
    """What all update ops share; subclasses are made by `optimizer`."""

    variables: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    sparse = False
    update: Update
    write: ClassVar[Update | None] = None
    """What `update` does, written by NumPy to the variables: for optimizers of so few steps that an XLA program would not be faster."""
    NotDifferentiable = True
    gpu_types = _GPU_TYPES
    in_place = True

    def infer(self, ctx: Any, *shapes: TensorShape) -> Any:
        count = len(self.variables)
        is_ref = self.input_args[0].ref
        first = list(shapes[:count]) if is_ref else [ctx.handle_shape(i) for i in range(count)]
        shape = first[0]
        for other in first[1:]:
            shape = merge(shape, other)
        given = dict(zip(self.operands, shapes[count:]))
        for name, operand in given.items():
            if name in _GRADIENTS:
                shape = merge(shape, self._gradient_shape(operand, given.get("indices")))
            elif name != "indices":
                scalar_input(operand)
        return shape if is_ref else ()

    @staticmethod
    def _gradient_shape(gradient: TensorShape, indices: TensorShape | None) -> TensorShape:
        if indices is None:
            return gradient
        indices = with_rank(indices, 1)
        if gradient.key is None or indices.key is None:
            return TensorShape(None)
        same_size(indices.key[0], gradient.key[0] if gradient.key else None)
        return TensorShape((None, *gradient.key[1:]))

    def compute(self, xp: Any, *inputs: Array) -> Any:
        count = len(self.variables)
        values, operands = inputs[:count], dict(zip(self.operands, inputs[count:]))
        self._check(values, operands)
        if self.sparse:
            results = self._update_rows(xp, values, operands, False)
        else:
            results = type(self).update(self, xp, *values, **operands)
        return results[0] if count == 1 else tuple(results)

    def compute_in_place(self, *inputs: Array) -> None:
        count = len(self.variables)
        values, operands = inputs[:count], dict(zip(self.operands, inputs[count:]))
        self._check(values, operands)
        if self.sparse:
            self._update_rows(np, values, operands, True)
            return
        shape, write = values[0].shape, type(self).write
        flat = [value.reshape(-1) for value in values]
        whole = {n: o.reshape(-1) for n, o in operands.items() if o.shape == shape and shape}
        # Piece by piece, so that what is computed in between stays in the processor's cache.
        now = dict(operands)
        parts = list(flat)
        for start in range(0, flat[0].shape[0], _PIECE):
            piece = slice(start, start + _PIECE)
            for name, operand in whole.items():
                now[name] = operand[piece]
            for at, value in enumerate(flat):
                parts[at] = value[piece]
            if write is not None:
                write(self, *parts, **now)
                continue
            new = type(self).update(self, np, *parts, **now)
            for old, value in zip(parts, new):
                old[:] = value

    def settled_kernel(self) -> Callable[..., Any]:
        if self.sparse:
            return self.compute
        update, count, names = type(self).update, len(self.variables), self.operands

        def kernel(xp: Any, *inputs: Array) -> Any:
            results = update(self, xp, *inputs[:count], **dict(zip(names, inputs[count:])))
            return results[0] if count == 1 else tuple(results)

        return kernel

    def _check(self, values: Sequence[Array], operands: dict[str, Array]) -> None:
        shape = values[0].shape
        for name, value in zip(self.variables[1:], values[1:]):
            if value.shape != shape:
                raise _invalid(
                    f"var and {name} do not have the same shape{_brackets(shape)} {_brackets(value.shape)}"
                )
        for name, value in operands.items():
            if name not in (*_GRADIENTS, "indices") and value.ndim != 0:
                raise _invalid(f"{name} is not a scalar: {_brackets(value.shape)}")
            if name in _GRADIENTS and not self.sparse and value.shape != shape:
                raise _invalid(
                    f"var and {name} do not have the same shape{_brackets(shape)} {_brackets(value.shape)}"
                )

    def _update_rows(
        self, xp: Any, values: Sequence[Array], operands: dict[str, Array], in_place: bool
    ) -> Any:
        gradient, indices = operands.pop("grad"), operands.pop("indices")
        shape = values[0].shape
        if len(shape) < 1:
            raise _invalid("var must be at least 1 dimensional")
        if indices.ndim != 1:
            raise _invalid("indices must be one-dimensional")
        if gradient.ndim == 0 or gradient.shape[0] != indices.shape[0]:
            raise _invalid("grad must be the same size as indices in the first dimension.")
        for axis in range(1, len(shape)):
            if gradient.shape[axis : axis + 1] != shape[axis : axis + 1]:
                raise _invalid(f"var and grad must match in dimension {axis}")
        if xp is np:
            wrong = np.flatnonzero((indices < 0) | (indices >= shape[0]))
            if wrong.size:
                raise _invalid(
                    f"Index {indices[wrong[0]]} at offset {wrong[0]} in indices is out of range"
                )

        def step(rows: list[Array], row_operands: list[Array]) -> Sequence[Array]:
            new: Sequence[Array] = type(self).update(
                self, xp, *rows, grad=row_operands[0], **operands
            )
            return new

        return update_rows(xp, values, indices, [gradient], step, shape[0], in_place)


def optimizer(
    name: str,
    variables: str,
    operands: str,
    *,
    forms: str = "Apply ResourceApply SparseApply ResourceSparseApply",
    sparse_operands: str | None = None,
    write: Update | None = None,
    **attrs: bool,
) -> Callable[[Update], Update]:
    """Decorates `update(op, xp, *variables, **operands) -> new values`: registers <form><name> for each form.

    `attrs` are the bool attrs and their defaults, `write(op, *variables, **operands)` does the same to writable arrays. The sparse forms have `indices` right after `grad`.
    """

    def decorate(update: Update) -> Update:
        for form in forms.split():
            sparse = "Sparse" in form
            names = (sparse_operands or operands) if sparse else operands
            if sparse:
                names = names.replace("grad", "grad indices")
            _register(form, name, variables.split(), names.split(), update, attrs, write)
        return update

    return decorate


def _register(
    form: str,
    name: str,
    variables: list[str],
    operands: list[str],
    update: Update,
    attrs: dict[str, bool],
    write: Update | None,
) -> None:
    resource, sparse = form.startswith("Resource"), "Sparse" in form
    body: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"{update.__doc__} On {'resource' if resource else 'ref'} variables"
        f"{', for the rows `indices`' if sparse else ''}.",
        "variables": tuple(variables),
        "operands": tuple(operands),
        "sparse": sparse,
        "update": update,
        "write": write,
        "fast_in_place": sparse or write is not None,
        "stateful": resource,
    }
    for variable in variables:
        body[f"in_{variable}"] = Input(
            dtypes.resource if resource else "T", ref=not resource, access="update", name=variable
        )
    fixed: dict[str, Any] = {"global_step": dtypes.int64, "indices": "Tindices"}
    for operand in operands:
        body[f"in_{operand}"] = Input(fixed.get(operand, "T"), name=operand)
    if not resource:
        body["out"] = Output("T", ref=True, alias="var")
    body["T"] = type_attr(NUMBERS)
    if sparse:
        body["Tindices"] = type_attr(INDEX)
    body["use_locking"] = Attr("bool", False)
    for attr, default in attrs.items():
        body[attr] = Attr("bool", default)
    type(f"{form}{name}", (_OptimizerOp,), body)
