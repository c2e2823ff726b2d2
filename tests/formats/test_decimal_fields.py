"""Decimal numbers read many at a time: the values that reading each alone gives, for whatever is written plainly."""

import random
from fractions import Fraction

import numpy as np
import pytest

from flowmesh.formats.decimal_fields import PADDING, Fields, nearest_single, to_single

ODD = [
    b"",
    b"-",
    b".",
    b"-.",
    b"1e5",
    b" 1",
    b"1 ",
    b"+1",
    b"1.2.3",
    b"--1",
    b"1_0",
    b"nan",
    b"\xb9",
    b"1-",
    b"/",
    b":",
]


def buffer_of(texts):
    return np.frombuffer(b"9" * PADDING + b",".join(texts) + b",", np.uint8)


def some_text(source):
    longest = 20 if source.random() < 0.1 else 9
    digits = ["".join(source.choices("0123456789", k=source.randrange(longest))) for _ in range(2)]
    return (source.choice(["", "", "-"]) + source.choice([".", ".", ""]).join(digits)).encode()


@pytest.mark.parametrize("seed", range(4))
def test_fields_are_what_reading_each_alone_gives(seed):
    source = random.Random(seed)
    texts = [
        some_text(source) if source.random() < 0.9 else source.choice(ODD) for _ in range(2000)
    ]
    fields = Fields.split(buffer_of(texts), ord(","))
    doubles, plain = fields.doubles()
    integers, whole = fields.integers()
    assert plain.sum() > 1000 and whole.sum() > 200
    for text, double, is_plain, integer, is_whole in zip(texts, doubles, plain, integers, whole):
        if is_plain:
            assert float(text) == double and np.signbit(double) == np.signbit(float(text))
        elif text not in ODD:
            number = text.lstrip(b"-").replace(b".", b"")
            assert not number or len(number) > 15
        if is_whole:
            assert int(text) == integer


@pytest.mark.parametrize("text", ODD)
def test_what_is_not_written_plainly_is_left_to_others(text):
    fields = Fields.split(buffer_of([b"5", text, b"-7"]), ord(","))
    for values, plain in (fields.doubles(), fields.integers()):
        assert plain.tolist() == [True, False, True]
        assert values[[0, 2]].tolist() == [5, -7]


MIDDLE = Fraction(1) + Fraction(1, 2**24)  # between 1 and the next float32
EDGES = [  # what TensorFlow 1.15 gives
    (b"1.00000005960464477540", 1.0000001),
    (b"-1.00000005960464477540", -1.0000001),
    (b"1.000000059604644775390625", 1.0),
    (b"1.00000005960464477538", 1.0),
    (b"16777217", 16777216.0),
    (b"3.4028235677973366e38", 3.4028234663852886e38),
    (b"3.4028235677973367e38", np.inf),
    (b"1e39", np.inf),
    (b"nan", np.nan),
]


def test_float32_is_rounded_once():
    assert Fraction("1.000000059604644775390625") == MIDDLE
    texts = [text for text, _ in EDGES]
    doubles = np.array([float(text) for text in texts])
    expected = np.array([value for _, value in EDGES], np.float32)
    np.testing.assert_array_equal(to_single(doubles, texts.__getitem__), expected)
    alone = [np.float32(nearest_single(t, float(t))) for t in texts if t != b"1e39"]
    np.testing.assert_array_equal(alone, np.delete(expected, 7))
