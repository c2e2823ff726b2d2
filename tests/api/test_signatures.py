"""Public functions take TensorFlow 1.15's arguments, in its order (recorded by `tests/oracle/record_signatures.py`)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

import flowmesh as tf

RECORDED: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[1] / "oracle" / "signatures.json").read_text()
)

# Where ours differ on purpose, with the reason.
DIFFERENT = {
    "DType": "made by the package alone",
    "Operation": "made by graphs alone",
    "app.flags.FLAGS": "an object, not a class",
    "flags.FLAGS": "an object, not a class",
    "contrib.framework.nest.flatten_up_to": "checks nothing beyond the form",
    "contrib.framework.nest.is_sequence": "the one argument has another name",
    "contrib.losses.compute_weighted_loss": "the argument is called as in tf.losses",
    "contrib.slim.losses.compute_weighted_loss": "the argument is called as in tf.losses",
    "gfile.Exists": "the path is called path in both forms of the name",
    "gfile.Walk": "os.walk's arguments",
    "linalg.diag": "the arguments of MatrixDiagV2 (k, padding) are not supported",
    "linalg.diag_part": "the arguments of MatrixDiagPartV2 are not supported",
    "linalg.set_diag": "the arguments of MatrixSetDiagV2 are not supported",
    "matrix_diag": "the arguments of MatrixDiagV2 (k, padding) are not supported",
    "matrix_diag_part": "the arguments of MatrixDiagPartV2 are not supported",
    "matrix_set_diag": "the arguments of MatrixSetDiagV2 are not supported",
    "numpy_function": "takes stateful as py_func does",
    "string_split": "no ragged result",
    "string_to_number": "no second name of the input",
    "test.assert_equal_graph_def": "compares the whole",
}


def ours(name: str) -> list[str] | None:
    """Argument names of a public name; None where any are taken."""
    value: object = tf
    for part in name.split("."):
        value = getattr(value, part)
    try:
        parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return None
    return [p.name for p in parameters]


@pytest.mark.parametrize("name", sorted(set(RECORDED) - set(DIFFERENT)))
def test_arguments(name: str) -> None:
    found = ours(name)
    if found is not None:
        wanted = RECORDED[name]
        assert found[: len(wanted)] == wanted
