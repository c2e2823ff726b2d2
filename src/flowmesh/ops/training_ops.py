"""Optimizer updates: `Apply*`, `ResourceApply*`, `SparseApply*` and `ResourceSparseApply*`.

Each optimizer is one function from the values of its variables and operands to the new values of the variables. `optimizer`
registers the ops made from it: on refs or resources, on whole variables or on the rows that `indices` names (the
function then sees those rows, and equal indices are handled one after another).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

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
    NotDifferentiable = True
    gpu_types = _GPU_TYPES

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
            results = self._update_rows(xp, values, operands)
        else:
            results = type(self).update(self, xp, *values, **operands)
        return results[0] if count == 1 else tuple(results)

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

    def _update_rows(self, xp: Any, values: Sequence[Array], operands: dict[str, Array]) -> Any:
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

        return update_rows(xp, values, indices, [gradient], step, shape[0])


def optimizer(
    name: str,
    variables: str,
    operands: str,
    *,
    forms: str = "Apply ResourceApply SparseApply ResourceSparseApply",
    sparse_operands: str | None = None,
    **attrs: bool,
) -> Callable[[Update], Update]:
    """Decorates `update(op, xp, *variables, **operands) -> new values`: registers <form><name> for each form.

    `attrs` are the bool attrs and their defaults. The sparse forms have `indices` right after `grad`.
    """

    def decorate(update: Update) -> Update:
        for form in forms.split():
            sparse = "Sparse" in form
            names = (sparse_operands or operands) if sparse else operands
            if sparse:
                names = names.replace("grad", "grad indices")
            _register(form, name, variables.split(), names.split(), update, attrs)
        return update

    return decorate


def _register(
    form: str,
    name: str,
    variables: list[str],
    operands: list[str],
    update: Update,
    attrs: dict[str, bool],
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


# -- the optimizers ------------------------------------------------------------------------------------


@optimizer("GradientDescent", "var", "alpha delta", forms="Apply ResourceApply")
def _gradient_descent(op: Any, xp: Any, var: Array, alpha: Array, delta: Array) -> Any:
    """var -= alpha * delta."""
    return (var - alpha * delta,)


def _shrink(xp: Any, value: Array, rate: Array, l1: Array, l2: Array) -> Array:
    """The proximal step: towards zero by rate * l1, then scaled down by 1 + rate * l2."""
    shrunk = xp.sign(value) * xp.maximum(xp.abs(value) - rate * xp.maximum(l1, 0 * l1), 0 * value)
    return xp.where(l1 > 0, shrunk, value) / (1 + l2 * rate)


@optimizer(
    "ProximalGradientDescent", "var", "alpha l1 l2 delta", sparse_operands="alpha l1 l2 grad"
)
def _proximal_gradient_descent(
    op: Any,
    xp: Any,
    var: Array,
    alpha: Array,
    l1: Array,
    l2: Array,
    delta: Array = None,
    grad: Array = None,
) -> Any:
    """Gradient descent with L1 and L2 regularization applied after the step."""
    return (_shrink(xp, var - alpha * (grad if delta is None else delta), alpha, l1, l2),)


@optimizer("Momentum", "var accum", "lr grad momentum", use_nesterov=False)
def _momentum(
    op: Any, xp: Any, var: Array, accum: Array, lr: Array, grad: Array, momentum: Array
) -> Any:
    """accum = momentum * accum + grad; var -= lr * accum (or the Nesterov form of it)."""
    accum = accum * momentum + grad
    step = grad * lr + accum * momentum * lr if op.use_nesterov else accum * lr
    return var - step, accum


@optimizer(
    "KerasMomentum",
    "var accum",
    "lr grad momentum",
    forms="ResourceApply ResourceSparseApply",
    use_nesterov=False,
)
def _keras_momentum(
    op: Any, xp: Any, var: Array, accum: Array, lr: Array, grad: Array, momentum: Array
) -> Any:
    """accum = momentum * accum - lr * grad; var += accum (or the Nesterov form of it)."""
    accum = accum * momentum - grad * lr
    return var + (accum * momentum - grad * lr if op.use_nesterov else accum), accum


@optimizer("Adagrad", "var accum", "lr grad", update_slots=True)
def _adagrad(op: Any, xp: Any, var: Array, accum: Array, lr: Array, grad: Array) -> Any:
    """accum += grad^2; var -= lr * grad / sqrt(accum)."""
    if op.update_slots:
        accum = accum + grad * grad
    return var - grad * lr / xp.sqrt(accum), accum


@optimizer("AdagradV2", "var accum", "lr epsilon grad", update_slots=True)
def _adagrad_v2(
    op: Any, xp: Any, var: Array, accum: Array, lr: Array, epsilon: Array, grad: Array
) -> Any:
    """accum += grad^2; var -= lr * grad / (sqrt(accum) + epsilon)."""
    if op.update_slots:
        accum = accum + grad * grad
    return var - grad * lr / (xp.sqrt(accum) + epsilon), accum


@optimizer("ProximalAdagrad", "var accum", "lr l1 l2 grad")
def _proximal_adagrad(
    op: Any, xp: Any, var: Array, accum: Array, lr: Array, l1: Array, l2: Array, grad: Array
) -> Any:
    """Adagrad with L1 and L2 regularization applied after the step."""
    accum = accum + grad * grad
    rate = lr / xp.sqrt(accum)
    return _shrink(xp, var - grad * rate, rate, l1, l2), accum


@optimizer(
    "AdagradDA",
    "var gradient_accumulator gradient_squared_accumulator",
    "grad lr l1 l2 global_step",
)
def _adagrad_dual_averaging(
    op: Any,
    xp: Any,
    var: Array,
    total: Array,
    squares: Array,
    grad: Array,
    lr: Array,
    l1: Array,
    l2: Array,
    global_step: Array,
) -> Any:
    """Adagrad by dual averaging: the variable follows from the sums of gradients and of their squares."""
    steps = xp.asarray(global_step).astype(var.dtype)
    total = total + grad
    squares = squares + grad * grad
    shrunk = xp.sign(total) * xp.maximum(xp.abs(total) - l1 * steps, 0 * total)
    numerator = -lr * xp.where(l1 > 0, shrunk, total)
    return numerator / (l2 * steps * lr + xp.sqrt(squares)), total, squares


@optimizer("Adadelta", "var accum accum_update", "lr rho epsilon grad")
def _adadelta(
    op: Any,
    xp: Any,
    var: Array,
    accum: Array,
    accum_update: Array,
    lr: Array,
    rho: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """Adadelta: steps scaled by the ratio of the running sizes of past steps and gradients."""
    accum = accum * rho + grad * grad * (1 - rho)
    step = xp.sqrt(accum_update + epsilon) / xp.sqrt(accum + epsilon) * grad
    return var - step * lr, accum, accum_update * rho + step * step * (1 - rho)


@optimizer(
    "Adam",
    "var m v",
    "beta1_power beta2_power lr beta1 beta2 epsilon grad",
    forms="Apply ResourceApply",
    use_nesterov=False,
)
def _adam(
    op: Any,
    xp: Any,
    var: Array,
    m: Array,
    v: Array,
    beta1_power: Array,
    beta2_power: Array,
    lr: Array,
    beta1: Array,
    beta2: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """Adam: steps from running means of the gradient and its square, corrected for their start at zero."""
    alpha = lr * xp.sqrt(1 - beta2_power) / (1 - beta1_power)
    m = m + (grad - m) * (1 - beta1)
    v = v + (grad * grad - v) * (1 - beta2)
    direction = grad * (1 - beta1) + beta1 * m if op.use_nesterov else m
    return var - direction * alpha / (xp.sqrt(v) + epsilon), m, v


@optimizer(
    "AdamWithAmsgrad",
    "var m v vhat",
    "beta1_power beta2_power lr beta1 beta2 epsilon grad",
    forms="ResourceApply",
)
def _adam_with_amsgrad(
    op: Any,
    xp: Any,
    var: Array,
    m: Array,
    v: Array,
    vhat: Array,
    beta1_power: Array,
    beta2_power: Array,
    lr: Array,
    beta1: Array,
    beta2: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """Adam that divides by the largest mean square so far."""
    alpha = lr * xp.sqrt(1 - beta2_power) / (1 - beta1_power)
    m = m + (grad - m) * (1 - beta1)
    v = v + (grad * grad - v) * (1 - beta2)
    vhat = xp.maximum(vhat, v)
    return var - m * alpha / (xp.sqrt(vhat) + epsilon), m, v, vhat


@optimizer(
    "AdaMax", "var m v", "beta1_power lr beta1 beta2 epsilon grad", forms="Apply ResourceApply"
)
def _adamax(
    op: Any,
    xp: Any,
    var: Array,
    m: Array,
    v: Array,
    beta1_power: Array,
    lr: Array,
    beta1: Array,
    beta2: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """Adam with the infinity norm."""
    m = m + (grad - m) * (1 - beta1)
    v = xp.maximum(beta2 * v, xp.abs(grad))
    return var - lr / (1 - beta1_power) * (m / (v + epsilon)), m, v


@optimizer("RMSProp", "var ms mom", "lr rho momentum epsilon grad")
def _rms_prop(
    op: Any,
    xp: Any,
    var: Array,
    ms: Array,
    mom: Array,
    lr: Array,
    rho: Array,
    momentum: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """RMSProp: gradients divided by the root of their running mean square, with momentum."""
    ms = ms + (grad * grad - ms) * (1 - rho)
    mom = mom * momentum + grad * lr / xp.sqrt(ms + epsilon)
    return var - mom, ms, mom


@optimizer("CenteredRMSProp", "var mg ms mom", "lr rho momentum epsilon grad")
def _centered_rms_prop(
    op: Any,
    xp: Any,
    var: Array,
    mg: Array,
    ms: Array,
    mom: Array,
    lr: Array,
    rho: Array,
    momentum: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    """RMSProp by the running variance instead of the mean square."""
    ms = ms + (grad * grad - ms) * (1 - rho)
    mg = mg + (grad - mg) * (1 - rho)
    mom = mom * momentum + grad * lr / xp.sqrt(ms - mg * mg + epsilon)
    return var - mom, mg, ms, mom


def _ftrl_step(
    xp: Any,
    var: Array,
    accum: Array,
    linear: Array,
    grad: Array,
    shrunk: Array,
    lr: Array,
    l1: Array,
    l2: Array,
    lr_power: Array,
) -> Any:
    """The common part of both FTRL forms; `shrunk` is the gradient with shrinkage."""
    new_accum = accum + grad * grad
    is_root = lr_power == -0.5
    safe_power = xp.where(is_root, 0 * lr_power, -lr_power)
    old_rate = xp.where(is_root, xp.sqrt(accum), accum**safe_power)
    new_rate = xp.where(is_root, xp.sqrt(new_accum), new_accum**safe_power)
    linear = linear + shrunk - (new_rate - old_rate) / lr * var
    quadratic = new_rate / lr + 2 * l2
    step = (l1 * xp.sign(linear) - linear) / quadratic
    return xp.where(xp.abs(linear) > l1, step, 0 * step), new_accum, linear


@optimizer("Ftrl", "var accum linear", "grad lr l1 l2 lr_power")
def _ftrl(
    op: Any,
    xp: Any,
    var: Array,
    accum: Array,
    linear: Array,
    grad: Array,
    lr: Array,
    l1: Array,
    l2: Array,
    lr_power: Array,
) -> Any:
    """FTRL-proximal: follow the regularized leader, per coordinate."""
    return _ftrl_step(xp, var, accum, linear, grad, grad, lr, l1, l2, lr_power)


@optimizer("FtrlV2", "var accum linear", "grad lr l1 l2 l2_shrinkage lr_power")
def _ftrl_v2(
    op: Any,
    xp: Any,
    var: Array,
    accum: Array,
    linear: Array,
    grad: Array,
    lr: Array,
    l1: Array,
    l2: Array,
    l2_shrinkage: Array,
    lr_power: Array,
) -> Any:
    """FTRL-proximal with an L2 penalty on the variable's size in the gradient."""
    shrunk = grad + 2 * l2_shrinkage * var
    return _ftrl_step(xp, var, accum, linear, grad, shrunk, lr, l1, l2, lr_power)


@optimizer("AddSign", "var m", "lr alpha sign_decay beta grad", forms="Apply ResourceApply")
def _add_sign(
    op: Any,
    xp: Any,
    var: Array,
    m: Array,
    lr: Array,
    alpha: Array,
    sign_decay: Array,
    beta: Array,
    grad: Array,
) -> Any:
    """Larger steps where the gradient agrees in sign with its running mean."""
    m = m * beta + grad * (1 - beta)
    agreement = xp.sign(grad) * xp.sign(m)
    return var - lr * (alpha + sign_decay * agreement) * grad, m


@optimizer("PowerSign", "var m", "lr logbase sign_decay beta grad", forms="Apply ResourceApply")
def _power_sign(
    op: Any,
    xp: Any,
    var: Array,
    m: Array,
    lr: Array,
    logbase: Array,
    sign_decay: Array,
    beta: Array,
    grad: Array,
) -> Any:
    """Steps scaled by a power of the agreement in sign with the running mean."""
    m = m * beta + grad * (1 - beta)
    agreement = xp.sign(grad) * xp.sign(m)
    return var - lr * xp.exp(logbase * sign_decay * agreement) * grad, m
