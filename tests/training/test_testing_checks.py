"""`tf.test`: checks of elements, threads and benchmarks."""

from __future__ import annotations

import unittest
from typing import Any

import pytest

import flowmesh as tf


class _Checks(tf.test.TestCase):
    def test_elements(self) -> None:
        self.assertAllInRange([1, 2], 1, 2)
        with self.assertRaisesRegex(
            AssertionError, r"1 elements are not in \[0, 2\), at \[\[1\]\]"
        ):
            self.assertAllInRange([1, 2], 0, 2, open_upper_bound=True)
        self.assertAllInSet([1, 2], {1, 2, 3})
        with self.assertRaisesRegex(AssertionError, "are not in {1}"):
            self.assertAllInSet([1, 2], {1})
        self.assertAllFinite([1.0])
        with self.assertRaisesRegex(AssertionError, r"are not finite, at \[\[1\]\]: \[nan\]"):
            self.assertAllFinite([1.0, float("nan")])
        self.assertNotAllClose([1.0], [1.1])
        self.assertDTypeEqual(tf.constant(1.0), tf.float32)
        self.assertItemsEqual([1, 2], [2, 1])
        self.assertEmpty([])
        self.assertLen([1], 1)
        with self.assertRaisesRegex(AssertionError, "1 of 2 elements differ, at .*by up to 1"):
            self.assertAllClose([1.0, 2.0], [1.0, 3.0])

    def test_threads(self) -> None:
        good = self.checkedThread(target=lambda x: self.assertEqual(x, 1), args=(1,))
        good.start()
        good.join()
        bad = self.checkedThread(target=lambda: self.assertEqual(2, 1))
        bad.start()
        with self.assertRaisesRegex(AssertionError, "2 != 1"):
            bad.join()


def test_element_checks_and_threads() -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(_Checks).run(result)
    assert result.testsRun >= 2 and not result.failures and not result.errors, result


def test_a_benchmark_times_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    class Adding(tf.test.Benchmark):
        def benchmark_add(self) -> dict[str, Any]:
            with tf.Graph().as_default(), tf.Session() as sess:
                total = tf.add(tf.placeholder_with_default(1.0, []), 2.0)
                return self.run_op_benchmark(sess, total, min_iters=5, mbs=3.0)

    found = Adding().benchmark_add()
    assert found["iters"] == 5 and found["wall_time"] > 0
    assert found["throughput"] == 3.0 / found["wall_time"]
    assert "name: Adding.benchmark_add, iters: 5" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Unable to determine calling Benchmark function"):
        tf.test.Benchmark().report_benchmark(iters=1)
