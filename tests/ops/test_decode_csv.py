"""Columns converted as a whole give what the careful way gives, field by field; both name the first bad field."""

from __future__ import annotations

import random

import numpy as np
import pytest

import flowmesh as tf
from flowmesh.core.errors import InvalidArgumentError
from flowmesh.ops.csv_blocks import CsvBlock
from flowmesh.ops.decode_csv import DecodeCSV

FIELDS = ["1", "2.5", "-3", "", " 4 ", "+5", "1_0", "nan", "x", '"q"', "1e3", "99999999999", "NA"]


def run(lines, defaults, **attrs):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.decode_csv(lines, defaults, **attrs))


def test_plain_columns_are_what_the_careful_way_gives():
    source = random.Random(1)
    plain_ones = 0
    for _ in range(600):
        types = source.choices(
            (tf.float32, tf.float64, tf.int32, tf.int64, tf.string), k=source.randrange(1, 4)
        )
        pool = FIELDS[:5] if source.random() < 0.7 else FIELDS
        lines = [",".join(source.choices(pool, k=len(types))).encode() for _ in range(3)]
        definition = DecodeCSV(
            {
                "OUT_TYPE": tuple(types),
                "field_delim": b",",
                "use_quote_delim": True,
                "na_value": source.choice([b"", b"NA"]),
                "select_cols": (),
            }
        )
        defaults = [np.array([7]).astype(t.as_numpy_dtype) for t in types]
        plain = definition._plain(lines, defaults)
        if plain is None:
            continue
        plain_ones += 1
        careful = definition._careful(lines, defaults)
        for got, wanted, dtype in zip(plain, careful, types):
            kind = dtype.as_numpy_dtype
            np.testing.assert_array_equal(np.array(list(got), kind), np.array(wanted, kind))
    assert plain_ones > 200


def some_field(dtype, source):
    if source.random() < 0.01:
        return source.choice([*FIELDS[3:], "1.00000005960464477540", "0x10", "2147483648", "-0"])
    if dtype == tf.string:
        return "w" * source.randrange(1, 4)
    number = source.randrange(-99999, 99999)
    return str(number) if dtype.is_integer else str(number / 10 ** source.randrange(5))


@pytest.mark.parametrize("seed", range(3))
def test_many_lines_at_once_are_what_the_careful_way_gives(seed):
    source = random.Random(seed)
    blocks = 0
    for _ in range(40):
        types = source.choices(
            (tf.float32, tf.float64, tf.int32, tf.int64, tf.string), k=source.randrange(3, 6)
        )
        attrs = {
            "OUT_TYPE": tuple(types),
            "field_delim": b";",
            "use_quote_delim": False,
            "na_value": b"NA",
            "select_cols": (),
        }
        lines = [
            ";".join(some_field(t, source) for t in types).encode()
            for _ in range(source.choice([8, 60, 2000]))
        ]
        defaults = [np.array([7]).astype(t.as_numpy_dtype) for t in types]
        defaults = [
            np.array([b"none"], object) if t == tf.string else d for t, d in zip(types, defaults)
        ]
        columns = CsvBlock(b";", types, (), b"NA", defaults).columns(lines)
        definition = DecodeCSV(attrs)
        if columns is None:
            assert any(f.encode() in b";".join(lines) for f in FIELDS[3:])
            continue
        blocks += 1
        for got, wanted, dtype in zip(columns, definition._careful(lines, defaults), types):
            kind = dtype.as_numpy_dtype
            np.testing.assert_array_equal(np.array(got, kind), np.array(wanted, kind))
    assert blocks > 10


def test_many_lines_name_the_first_bad_field():
    lines = ["1.5,2"] * 500
    lines[300] = "x,2"
    lines[400] = "1.5"
    with pytest.raises(InvalidArgumentError, match="Field 0 in record 300 is not a valid float: x"):
        run(lines, [[0.0], [0]])


def test_an_empty_line_has_no_field():
    with pytest.raises(InvalidArgumentError, match="Expect 1 fields but have 0 in record 1"):
        run(["a", "", "b"], [["none"]])


def test_missing_fields_take_the_default_and_columns_can_be_chosen():
    numbers, words = run(
        ["1,a,9", ",NA,9", "3,,9"], [[7], ["none"]], na_value="NA", select_cols=[0, 1]
    )
    assert numbers.tolist() == [1, 7, 3]
    assert words.tolist() == [b"a", b"none", b"none"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,2", "1,x"], "Field 1 in record 1 is not a valid int32: x"),
        (["1,2", "1,1_0"], "Field 1 in record 1 is not a valid int32: 1_0"),
        (["1,2", "1,99999999999"], "Field 1 in record 1 is not a valid int32: 99999999999"),
        (["1,2", "1,"], "Field 1 is required but missing in record 1!"),
        (["1,2", "", "1,2"], "Expect 2 fields but have 0 in record 1"),
        (["1,2", "1,2,3"], "Expect 2 fields but have 3 in record 1"),
    ],
)
def test_the_first_bad_field_is_named(lines, message):
    with pytest.raises(InvalidArgumentError, match=message):
        run(lines, [[0.0], np.array([], np.int32)])
