"""The op test table: what a row is, and how the rows are found.

Every module `tests/ops/rows_<module>.py` holds `ROWS: list[Row]`; `tests/ops/test_table.py` imports them
all, walks the op registry and fails on an op type without a row. An op may have any number of rows.

    from tests.ops.table import Row

    ROWS = [
        Row("Square", [[-1.0, 2.0]], want=np.square, dtypes=["float32", "float64", "int32"]),
        Row("Concat", [0, [A, B]], want=lambda axis, xs: np.concatenate(xs, axis)),
        Row("Shape", [np.ones([2, 3], np.float32)], {"out_type": "int64"}, want=np.array([2, 3])),
        Row("ApplyGradientDescent", [VAR, np.float32(0.1), DELTA], want=lambda v, a, d: v - a * d),
        Row("RandomUniform", [np.array([2, 3])], {"dtype": "float32", "seed": 7}, check=in_unit_interval),
        Row("QueueEnqueueV2", covered_by="tests/resources/test_queues.py"),
    ]

**Inputs** are given in the op's declared order: a NumPy array, a scalar, a nested list of numbers, or `bytes`; a Python list of
arrays for a list input. Python floats become float32, Python ints int32, bytes an object array, unless
the op's signature fixes the dtype (then the value is cast to it) or `dtypes` names others.

**dtypes**: the row is run once for each of them, with every input whose declared dtype is the type attr `vary` (default
"T") cast to it. Without it the row is run once, as given. XLA compiles the row for the first dtype only (compiling is
what takes the time of this test); for the others the kernel is traced, which checks result dtypes and shapes.

**attrs**: given to `raw` as they are. Type attrs that follow from the inputs are solved from them. Types may be given
as names ("int64").

**want**: the independent reference: a function of the inputs (NumPy or SciPy, never the kernel itself) or the literal result;
a tuple when the kernel returns several values. A kernel that changes variables returns the new values first and then its outputs:
so does `want`. It sees the inputs with the dtype of the run, except float16 and bfloat16 which it sees as float32.

**check**: called with the results (in place of, or after, the comparison with `want`); asserts by itself.

What is checked of a row, beside the value under NumPy (unless the op is `xla_only`) and under `jax.jit` (unless it is
`numpy_only`, a host op, or the row says `jit=False`):

* every result has exactly the declared dtype;
* the inferred shape agrees with the kernel's, for fully known input shapes, for each input shape with unknown dimensions, and
  for unknown ranks. For fully known input shapes (and constants for `static_inputs`) the inferred shape must be complete,
  unless the row says `loose_shape=True`;
* the gradient against central finite differences in float64 for each input in `grad` (flat input indexes; default True: all
  differentiable floating inputs; False: none). An op class that declares `NotDifferentiable` or has no `gradient` is left alone;
* the node, written to a GraphDef and read back, is the same node.

A host op (`run`) is called with a `HostContext` of the interpreter's, with fresh resources; `host={...}` sets fields of it.
`covered_by="tests/...py"` names a module that tests the op in place of a row; it must exist and contain the op type's name.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

HERE = pathlib.Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One line of the op test table; the module's docstring explains the fields."""

    op: str
    inputs: Sequence[Any] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    want: Any = None
    id: str = ""
    dtypes: Sequence[str] = ()
    vary: str = "T"
    check: Callable[..., None] | None = None
    grad: bool | Sequence[int] = True
    rtol: float | None = None
    atol: float | None = None
    grad_tolerance: float = 1e-5
    jit: bool = True
    loose_shape: bool = False
    host: Mapping[str, Any] = field(default_factory=dict)
    covered_by: str = ""
    first: bool = True

    def label(self) -> str:
        """The test id: the op type, the row's own id and its one dtype."""
        return "-".join(part for part in (self.op, self.id, "".join(self.dtypes)) if part)

    def variants(self) -> list[Row]:
        """One row for each of `dtypes`; the row itself where none is named."""
        return [
            replace(self, dtypes=(name,), first=index == 0)
            for index, name in enumerate(self.dtypes)
        ] or [self]


def collect() -> list[Row]:
    """The rows of all `rows_*.py` modules of this folder, in order of file name."""
    rows: list[Row] = []
    for path in sorted(HERE.glob("rows_*.py")):
        rows.extend(importlib.import_module(f"tests.ops.{path.stem}").ROWS)
    return rows
