"""Linear algebra: the names of `tf.linalg`."""

from __future__ import annotations

from flowmesh.ops.clip import (
    global_norm as global_norm,
)
from flowmesh.ops.contraction import (
    einsum as einsum,
    tensordot as tensordot,
)
from flowmesh.ops.diagonal import (
    diag as tensor_diag,
    diag_part as tensor_diag_part,
    matrix_band_part as band_part,
    matrix_diag as diag,
    matrix_diag_part as diag_part,
    matrix_set_diag as set_diag,
)
from flowmesh.ops.math_extra import (
    cross as cross,
)
from flowmesh.ops.matmul import (
    matmul as matmul,
)
from flowmesh.ops.matrix_functions import (
    adjoint as adjoint,
    cholesky as cholesky,
    cholesky_solve as cholesky_solve,
    eye as eye,
    logdet as logdet,
    matrix_determinant as det,
    matrix_inverse as inv,
    matrix_solve as solve,
    matrix_transpose as matrix_transpose,
    matrix_transpose as transpose,
    matrix_triangular_solve as triangular_solve,
    norm as norm,
    qr as qr,
    self_adjoint_eig as eigh,
    self_adjoint_eigvals as eigvalsh,
    slogdet as slogdet,
    svd as svd,
    trace as trace,
)
from flowmesh.ops.nn_misc import (
    l2_normalize as l2_normalize,
)

__all__ = [
    "adjoint",
    "band_part",
    "cholesky",
    "cholesky_solve",
    "cross",
    "det",
    "diag",
    "diag_part",
    "eigh",
    "eigvalsh",
    "einsum",
    "eye",
    "global_norm",
    "inv",
    "l2_normalize",
    "logdet",
    "matmul",
    "matrix_transpose",
    "norm",
    "qr",
    "set_diag",
    "slogdet",
    "solve",
    "svd",
    "tensor_diag",
    "tensor_diag_part",
    "tensordot",
    "trace",
    "transpose",
    "triangular_solve",
]
