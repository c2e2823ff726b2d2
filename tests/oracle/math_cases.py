"""Programs whose graphs Flowmesh must build like TensorFlow 1.15: node by node, gradients included.

`CASES` maps a name to `(build, specs)`: `build(tf, *inputs)` gives one tensor or a list of them; a spec is the
shape of a float32 placeholder, or a `(shape, dtype name)` pair. The module imports nothing, so that both sides can run it.
"""

UNARY = [
    "negative",
    "abs",
    "sign",
    "reciprocal",
    "square",
    "sqrt",
    "rsqrt",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
    "tanh",
    "sigmoid",
    "erf",
    "erfc",
    "lgamma",
    "digamma",
    "floor",
    "ceil",
    "round",
    "rint",
]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "floordiv",
    "floormod",
    "div_no_nan",
    "pow",
    "maximum",
    "minimum",
    "squared_difference",
    "atan2",
]
REDUCTIONS = ["sum", "mean", "prod", "max", "min", "logsumexp"]
IDS = [0, 0, 1]

CASES = {}


def _define():
    for name in UNARY:
        CASES[name] = (lambda tf, x, n=name: getattr(tf, n)(x), [[2, 3]])
    for name in BINARY:
        for label, shapes in (
            ("equal", [[2, 3], [2, 3]]),
            ("broadcast", [[2, 3], [3]]),
            ("partial", [[None, 3], [3]]),
            ("unknown", [None, None]),
        ):
            CASES[f"{name} {label}"] = (lambda tf, x, y, n=name: getattr(tf, n)(x, y), shapes)
    for name in REDUCTIONS:
        reduce = f"reduce_{name}"
        CASES[f"{reduce} all"] = (lambda tf, x, n=reduce: getattr(tf, n)(x), [[2, 3]])
        CASES[f"{reduce} axis"] = (lambda tf, x, n=reduce: getattr(tf, n)(x, 1), [[2, 3]])
        CASES[f"{reduce} partial"] = (
            lambda tf, x, n=reduce: getattr(tf, n)(x, [1], keepdims=True),
            [[None, 3]],
        )
        CASES[f"{reduce} unknown"] = (lambda tf, x, n=reduce: getattr(tf, n)(x), [None])
    for name in ["sum", "mean", "max", "min"]:
        segment = f"segment_{name}"
        CASES[segment] = (lambda tf, x, n=segment: getattr(tf, n)(x, IDS), [[3, 2]])
    for name in ["sum", "mean", "max", "min", "prod", "sqrt_n"]:
        segment = f"unsorted_segment_{name}"
        CASES[segment] = (lambda tf, x, n=segment: getattr(tf, n)(x, IDS, 2), [[3, 2]])
    for name in ["sum", "mean", "sqrt_n"]:
        segment = f"sparse_segment_{name}"
        CASES[segment] = (lambda tf, x, n=segment: getattr(tf, n)(x, IDS, IDS), [[3, 2]])
    for a in (False, True):
        for b in (False, True):
            CASES[f"matmul {a:d}{b:d}"] = (
                lambda tf, x, y, p=a, q=b: tf.matmul(x, y, transpose_a=p, transpose_b=q),
                [[2, 2], [2, 2]],
            )
            CASES[f"batch matmul {a:d}{b:d}"] = (
                lambda tf, x, y, p=a, q=b: tf.matmul(x, y, transpose_a=p, adjoint_b=q),
                [[None, 2, 2], [3, 2, 2]],
            )


_define()

CASES.update(
    {
        "operators": (lambda tf, x: -x + 1.0 - 2.0 * x / 3.0 + (1.0 - x) ** 2 % x // x, [[2]]),
        "reflected": (lambda tf, x: 2.0**x + 3.0 / x - 1.0 // x, [[2]]),
        "matmul operator": (lambda tf, x: [[1.0, 2.0]] @ (x @ [[1.0], [2.0]]), [[2, 2]]),
        "comparison operators": (
            lambda tf, x: tf.to_float((x < 1) & (x >= 0) | ~(x > 2) ^ (x <= 3)),
            [[2]],
        ),
        "integer division": (
            lambda tf, x: tf.to_float(x / 2) + tf.to_float(x // 2),
            [([2], "int32")],
        ),
        "twice broadcast": (lambda tf, x, y: x * y + x * y * x, [[2, 3], [3]]),
        "twice reduced": (lambda tf, x: tf.reduce_sum(x, 1) + tf.reduce_sum(x * x, 1), [[2, 3]]),
        "cumsum": (lambda tf, x: tf.cumsum(x, 1, exclusive=True), [[2, 3]]),
        "cumprod": (lambda tf, x: tf.cumprod(x, reverse=True), [[2, 3]]),
        "add_n": (lambda tf, x, y: tf.add_n([x, y, x]), [[2, 3], [2, 3]]),
        "accumulate_n": (lambda tf, x, y: tf.accumulate_n([x, y]), [[2, 3], [2, 3]]),
        "argmax": (lambda tf, x: tf.to_float(tf.argmax(x, 1)), [[2, 3]]),
        "cast": (lambda tf, x: tf.cast(x, "float64"), [[2, 3]]),
        "saturate_cast": (lambda tf, x: tf.to_float(tf.saturate_cast(x, "uint8")), [[2, 3]]),
        "complex": (lambda tf, x, y: tf.abs(tf.complex(x, y)), [[2, 3], [2, 3]]),
        "complex parts": (
            lambda tf, x: tf.real(x) + tf.imag(x) + tf.angle(x),
            [([2, 3], "complex64")],
        ),
        "complex product": (lambda tf, x, y: tf.abs(x * tf.conj(y)), [([2], "complex64")] * 2),
        "clip_by_value": (lambda tf, x: tf.clip_by_value(x, 0.0, 1.0), [[2, 3]]),
        "clip_by_norm": (lambda tf, x: tf.clip_by_norm(x, 1.0), [[2, 3]]),
        "clip_by_average_norm": (lambda tf, x: tf.clip_by_average_norm(x, 1.0), [[2, 3]]),
        "clip_by_global_norm": (
            lambda tf, x, y: tf.clip_by_global_norm([x, y], 1.0)[0],
            [[2, 3], [4]],
        ),
        "matrix_inverse": (lambda tf, x: tf.matrix_inverse(x), [[2, 2]]),
        "matrix_determinant": (lambda tf, x: tf.matrix_determinant(x), [[4, 2, 2]]),
        "matrix_solve": (lambda tf, x, y: tf.matrix_solve(x, y), [[2, 2], [2, 1]]),
        "matrix_triangular_solve": (
            lambda tf, x, y: tf.matrix_triangular_solve(x, y, lower=False, adjoint=True),
            [[2, 2], [2, 1]],
        ),
        "cholesky": (lambda tf, x: tf.cholesky(x), [[4, 2, 2]]),
        "qr": (lambda tf, x: tf.qr(x), [[3, 2]]),
        "svd values": (lambda tf, x: tf.svd(x, compute_uv=False), [[3, 2]]),
        "svd": (lambda tf, x: tf.svd(x), [[4, 3, 3]]),
        "self_adjoint_eig": (lambda tf, x: tf.self_adjoint_eig(x), [[2, 2]]),
        "self_adjoint_eigvals": (lambda tf, x: tf.self_adjoint_eigvals(x), [[2, 2]]),
        "matrix_diag": (lambda tf, x: tf.matrix_diag(x), [[3, 2]]),
        "matrix_diag_part": (lambda tf, x: tf.matrix_diag_part(x), [[3, 2, 2]]),
        "matrix_set_diag": (lambda tf, x, y: tf.matrix_set_diag(x, y), [[3, 2, 2], [3, 2]]),
        "matrix_band_part": (lambda tf, x: tf.matrix_band_part(x, 1, -1), [[3, 2]]),
        "diag": (lambda tf, x: tf.diag_part(tf.diag(x)), [[3]]),
        "trace": (lambda tf, x: tf.trace(x), [[2, 2]]),
        "cross": (lambda tf, x, y: tf.cross(x, y), [[2, 3], [2, 3]]),
        "norm": (lambda tf, x: tf.norm(x), [[2, 3]]),
        "norm 1": (lambda tf, x: tf.norm(x, 1, axis=1), [[2, 3]]),
        "norm 3": (lambda tf, x: tf.norm(x, 3, axis=0, keepdims=True), [[2, 3]]),
        "norm fro": (lambda tf, x: tf.norm(x, "fro", axis=[0, 1]), [[2, 3]]),
        "tensordot": (lambda tf, x, y: tf.tensordot(x, y, [[0], [1]]), [[2, 3], [3, 2]]),
        "tensordot partial": (lambda tf, x, y: tf.tensordot(x, y, [[0], [1]]), [[None, 3], None]),
        "einsum product": (lambda tf, x, y: tf.einsum("ij,jk->ik", x, y), [[2, 3], [3, 2]]),
        "einsum transposed": (lambda tf, x, y: tf.einsum("bi,oi->bo", x, y), [[4, 2], [5, 2]]),
        "einsum outer": (lambda tf, x, y: tf.einsum("i,j->ij", x, y), [[4], [5]]),
        "einsum partial": (lambda tf, x, y: tf.einsum("abc,cd->abd", x, y), [[None, 5, 6], [6, 7]]),
        "einsum batch": (lambda tf, x, y: tf.einsum("bij,bik->bjk", x, y), [[2, 5, 6], [2, 5, 7]]),
        "einsum dot": (lambda tf, x, y: tf.einsum("i,i->", x, y), [[4], [4]]),
        "einsum permuted": (lambda tf, x: tf.einsum("ijk->kij", x), [[4, 5, 6]]),
        "count_nonzero": (lambda tf, x: tf.to_float(tf.count_nonzero(x)), [[2, 3]]),
        "bincount": (
            lambda tf, x: tf.bincount(x, minlength=3, maxlength=5, dtype="float32"),
            [([3], "int32")],
        ),
        "log_sigmoid": (lambda tf, x: tf.log_sigmoid(x), [[2]]),
        "eye": (lambda tf, x: x * tf.eye(3, 2, batch_shape=[2]), [[2, 3, 2]]),
        "igamma": (
            lambda tf, x, y: tf.igamma(x, y) + tf.zeta(x, y) + tf.polygamma(x, y),
            [[2], [2]],
        ),
        "betainc": (lambda tf, x, y, z: tf.betainc(x, y, z) + tf.lbeta(x), [[2], [2], [2]]),
    }
)

# Calls that fail when the graph is built: the error's class and words are recorded.
ERRORS = {
    "add shapes": lambda tf, p: tf.add(p([2, 3]), p([4])),
    "add dtypes": lambda tf, p: tf.add(p([2]), p([2], "int32")),
    "add bool": lambda tf, p: p([2], "bool") + p([2], "bool"),
    "add float to int": lambda tf, p: p([3], "int32") + 1.5,
    "truediv dtypes": lambda tf, p: p([3], "int32") / p([3]),
    "truediv bool": lambda tf, p: p([3], "bool") / p([3], "bool"),
    "matmul sizes": lambda tf, p: tf.matmul(p([2, 3]), p([4, 5])),
    "matmul vector": lambda tf, p: tf.matmul(p([2]), p([4, 5])),
    "matmul batch": lambda tf, p: tf.matmul(p([2, 3, 4]), p([3, 4, 5])),
    "matmul inner": lambda tf, p: tf.matmul(p([2, 3, 1]), p([4, 5])),
    "matmul twice": lambda tf, p: tf.matmul(p([2, 3]), p([2, 3]), transpose_a=True, adjoint_a=True),
    "sum axis": lambda tf, p: tf.reduce_sum(p([2, 3]), 2),
    "sum axes rank": lambda tf, p: tf.reduce_sum(p([2, 3]), [[1]]),
    "sum both names": lambda tf, p: tf.reduce_sum(p([2, 3]), axis=1, reduction_indices=1),
    "sum both keeps": lambda tf, p: tf.reduce_sum(p([2, 3]), keepdims=True, keep_dims=False),
    "argmax axis": lambda tf, p: tf.argmax(p([2, 3]), 2),
    "argmax axis rank": lambda tf, p: tf.argmax(p([2, 3]), [1]),
    "argmax both names": lambda tf, p: tf.argmax(p([2, 3]), axis=1, dimension=1),
    "add_n shapes": lambda tf, p: tf.add_n([p([2, 3]), p([2, 4])]),
    "add_n none": lambda tf, p: tf.add_n([]),
    "accumulate_n shapes": lambda tf, p: tf.accumulate_n([p([2, 3]), p([2, 4])]),
    "accumulate_n none": lambda tf, p: tf.accumulate_n([]),
    "inverse not square": lambda tf, p: tf.matrix_inverse(p([2, 3])),
    "inverse vector": lambda tf, p: tf.matrix_inverse(p([3])),
    "solve sizes": lambda tf, p: tf.matrix_solve(p([2, 2]), p([3, 3])),
    "diag_part vector": lambda tf, p: tf.matrix_diag_part(p([3])),
    "diag_part rank": lambda tf, p: tf.diag_part(p([3])),
    "diag_part sizes": lambda tf, p: tf.diag_part(p([3, 2])),
    "cross shapes": lambda tf, p: tf.cross(p([3]), p([2])),
    "cross size": lambda tf, p: tf.cross(p([2]), p([2])),
    "segment ids rank": lambda tf, p: tf.segment_sum(p([3]), p([2, 2], "int32")),
    "unsorted ids": lambda tf, p: tf.unsorted_segment_sum(p([3]), p([2], "int32"), 2),
    "bitcast size": lambda tf, p: tf.bitcast(p([3]), "float64"),
    "linspace rank": lambda tf, p: tf.linspace(0.0, 1.0, [3]),
    "linspace none": lambda tf, p: tf.linspace(0.0, 1.0, 0),
    "clip smaller": lambda tf, p: tf.clip_by_value(p([3]), p([2]), 1.0),
    "clip larger": lambda tf, p: tf.clip_by_value(p([3]), p([2, 3]), 1.0),
    "clip no sequence": lambda tf, p: tf.clip_by_global_norm(3, 1.0),
    "equal shapes": lambda tf, p: tf.equal(p([2, 3]), p([4])),
    "equal dtypes": lambda tf, p: tf.equal(p([2]), p([2], "int32")),
    "complex mixed": lambda tf, p: tf.complex(p([2]), p([2], "float64")),
    "norm order": lambda tf, p: tf.norm(p([2, 3]), ord="abc"),
    "unknown rank": lambda tf, p: tf.matrix_solve(p(None), p([3])),
    "scalar_mul": lambda tf, p: tf.scalar_mul(p([2]), p([2])),
    "band rank": lambda tf, p: tf.matrix_band_part(p([2]), 0, 0),
}
