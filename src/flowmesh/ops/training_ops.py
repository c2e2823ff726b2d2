"""Optimizer updates: `Apply*`, `ResourceApply*`, `SparseApply*` and `ResourceSparseApply*`.

Each function is one optimizer: from the values of its variables and operands to the new values of the variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowmesh.ops.optimizer_op import Array, optimizer


def _descend(op: Any, var: Array, alpha: Array, delta: Array) -> None:
    np.subtract(var, alpha * delta, out=var)


@optimizer("GradientDescent", "var", "alpha delta", forms="Apply ResourceApply", write=_descend)
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
