"""Values are never changed behind anybody's back; errors are named."""

from __future__ import annotations

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.runtime.failures import NodeFailure, annotate
from flowmesh.runtime.values import (
    SMALL_FEED,
    as_output,
    freeze,
    is_frozen,
    read_only_view,
    shared_copy,
)
from tests.passes.builders import const


def test_freeze_keeps_what_is_nobody_elses():
    fresh = np.ones(3)
    assert freeze(fresh) is fresh
    assert not fresh.flags.writeable
    assert freeze(fresh[1:]).base is fresh


def test_freeze_copies_what_others_can_change():
    mine = np.ones(3)
    for given in (mine[1:], read_only_view(mine), read_only_view(mine)[1:]):
        kept = freeze(given)
        mine[:] = 5
        assert (kept == 1).all()
        mine[:] = 1
    assert mine.flags.writeable


def test_scalars_become_arrays():
    made = as_output(np.float32(2), dtypes.float32)
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.float32
    assert as_output(b"x", dtypes.string).dtype == object
    assert as_output(True, dtypes.bool).dtype == np.bool_


@pytest.fixture
def op():
    with Graph().as_default():
        return raw.Neg(const(1.0), name="x").op


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ValueError("bad"), errors.InvalidArgumentError),
        (errors.OutOfRangeError(None, None, "bad"), errors.OutOfRangeError),
        (MemoryError("bad"), errors.ResourceExhaustedError),
        (RuntimeError("bad"), errors.InternalError),
    ],
)
def test_errors_name_the_node(op, raised, expected):
    error = annotate(op, raised)
    assert type(error) is expected
    assert "bad\n\t [[node x (defined at " in error.message
    assert "test_values.py:" in error.message
    assert annotate(op, error) is error


def test_the_innermost_op_counts(op):
    error = annotate(None, NodeFailure(op, ValueError("bad")))
    assert "[[node x (defined at" in error.message


def test_a_node_of_unknown_origin_is_left_to_the_client(op):
    op._frames = ()
    assert annotate(op, ValueError("bad")).message == "bad\n\t [[{{node x}}]]"


def test_xla_status_codes():
    class XlaRuntimeError(RuntimeError):
        pass

    error = annotate(None, XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    assert type(error) is errors.ResourceExhaustedError
    assert error.message == "Out of memory"


def test_what_several_programs_read_is_copied_once_frozen_and_aligned() -> None:
    fed = np.arange(1000, dtype=np.float32)
    copy = shared_copy(fed)
    fed[0] = 7
    assert copy[0] == 0 and is_frozen(copy)
    assert copy.__array_interface__["data"][0] % 64 == 0
    assert shared_copy(copy) is copy
    large = np.zeros(SMALL_FEED + 1, np.uint8)
    assert shared_copy(large) is large


def test_strings_that_several_clusters_read_are_not_copied():
    names = np.array([b"a", b"bc"], object)
    assert shared_copy(names) is names
