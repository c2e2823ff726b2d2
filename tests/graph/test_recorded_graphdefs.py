"""GraphDefs that TensorFlow 1.15 wrote are imported, run to equal numbers, and are written again as they were."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from tests.oracle import programs

_RECORDED: dict[str, Any] = json.loads(
    (Path(programs.__file__).parent / "graphdefs.json").read_text()
)


def _graph_def(name: str) -> Any:
    return tf.GraphDef.FromString(base64.b64decode(_RECORDED[name]["graph_def"]))


def _numbers(value: Any) -> Any:
    return None if value is None else np.array(value["array"])


@pytest.mark.parametrize("name", sorted(_RECORDED))
def test_runs_to_equal_numbers(name: str) -> None:
    with tf.Graph().as_default():
        tf.import_graph_def(_graph_def(name), name="")
        with tf.Session() as session:
            for (fetch, feed), expected in zip(
                _RECORDED[name]["runs"], _RECORDED[name]["results"], strict=True
            ):
                found = programs.plain(tf, session.run(fetch, feed))
                if expected is None:
                    assert found is None
                    continue
                assert (found["dtype"], found["shape"]) == (expected["dtype"], expected["shape"])
                if expected["dtype"].startswith("float"):
                    ours, theirs = (_numbers(v).astype(float) for v in (found, expected))
                    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6, err_msg=fetch)
                else:
                    assert found["array"] == expected["array"]


@pytest.mark.parametrize("name", sorted(_RECORDED))
def test_is_written_as_it_was(name: str) -> None:
    original = _graph_def(name)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(original, name="")
        written = {n.name: n for n in graph.as_graph_def().node}
    assert sorted(written) == sorted(n.name for n in original.node)
    for node in original.node:
        ours, theirs = (programs.message_json(n) for n in (written[node.name], node))
        assert ours == theirs, node.name
