"""Rows of the string ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.table import Row


def text(*values: Any) -> np.ndarray:
    """A string tensor."""
    return np.array(values, object)


GRID = np.array([[b"a", b"b"], [b"c", b"d"]], object)
WORDS = text(b"Hello ", b" wOrld", b"")
RECORDED = "tests/ops/test_array_oracle.py"

ROWS = [
    Row(
        "StringJoin",
        [[WORDS, text(b"x", b"y", b"z")]],
        {"separator": "-"},
        want=text(b"Hello -x", b" wOrld-y", b"-z"),
    ),
    Row(
        "ReduceJoin",
        [GRID, np.int32([1])],
        {"separator": "."},
        want=text(b"a.b", b"c.d"),
        loose_shape=True,
    ),
    Row(
        "Substr",
        [text(b"hello", b"worlds"), np.int32([1, -3]), np.int32([2, 2])],
        want=text(b"el", b"ld"),
    ),
    Row("StringStrip", [WORDS], want=text(b"Hello", b"wOrld", b"")),
    Row("StringLower", [WORDS], want=text(b"hello ", b" world", b"")),
    Row(
        "StringUpper",
        [text("h\u00e9".encode())],
        {"encoding": "utf-8"},
        want=text("H\u00c9".encode()),
    ),
    Row("StringLength", [text("h\u00e9".encode(), b"")], want=np.int32([3, 0])),
    Row(
        "StringLength",
        [text("h\u00e9".encode(), b"")],
        {"unit": "UTF8_CHAR"},
        id="utf8",
        want=np.int32([2, 0]),
    ),
    Row("AsString", [np.float32([1.5, -0.25])], {"precision": 2}, want=text(b"1.50", b"-0.25")),
    Row(
        "AsString",
        [np.int32([7, -12])],
        {"width": 4, "fill": "0"},
        id="int",
        want=text(b"0007", b"-012"),
    ),
    Row("StringToNumber", [text(b" 1.5", b"-2e3")], want=np.float32([1.5, -2000])),
    Row("StringToNumber", [text(b"42")], {"out_type": "int64"}, id="int64", want=np.int64([42])),
    Row(
        "DecodeRaw",
        [text(b"\x01\x02\x03\x04")],
        {"out_type": "int16"},
        want=np.int16([[513, 1027]]),
        loose_shape=True,
    ),
    Row(
        "EncodeBase64",
        [text(b"hello", b"\xff\xfe")],
        {"pad": True},
        want=text(b"aGVsbG8=", b"__4="),
    ),
    Row("DecodeBase64", [text(b"aGVsbG8", b"__4=")], want=text(b"hello", b"\xff\xfe")),
    Row("StringToHashBucketFast", covered_by=RECORDED),
    Row("StringToHashBucketStrong", covered_by=RECORDED),
    Row("StringToHashBucket", covered_by=RECORDED),
    Row(
        "StringSplit",
        [text(b"a b", b"c"), np.array(b" ", object)],
        want=(np.int64([[0, 0], [0, 1], [1, 0]]), text(b"a", b"b", b"c"), np.int64([2, 2])),
        loose_shape=True,
    ),
    Row(
        "StringSplitV2",
        [text(b"a<>b<>", b"c"), np.array(b"<>", object)],
        {"maxsplit": 1},
        want=(np.int64([[0, 0], [0, 1], [1, 0]]), text(b"a", b"b<>", b"c"), np.int64([2, 2])),
        loose_shape=True,
    ),
    Row(
        "RegexReplace",
        [text(b"aXbX"), np.array(b"(X)", object), np.array(b"<\\1>", object)],
        want=text(b"a<X>b<X>"),
    ),
    Row(
        "StaticRegexReplace",
        [text(b"aXbX")],
        {"pattern": "X", "rewrite": "y", "replace_global": False},
        want=text(b"aybX"),
    ),
    Row(
        "RegexFullMatch",
        [text(b"ab", b"b"), np.array(b"a.*", object)],
        want=np.array([True, False]),
    ),
    Row(
        "StaticRegexFullMatch",
        [text(b"ab", b"b")],
        {"pattern": "a.*"},
        want=np.array([True, False]),
    ),
    Row(
        "DecodeCSV",
        [text(b'1,"a,b"', b",c"), [np.int32([7]), text(b"d")]],
        want=(np.int32([1, 7]), text(b"a,b", b"c")),
    ),
    Row(
        "StringFormat",
        [[np.int32([1, 2, 3])]],
        {"template": "x=%s"},
        want=np.array(b"x=[1 2 3]", object),
    ),
]

ROWS.append(Row("RecordInput", covered_by="tests/training/test_input_readers.py"))
