"""Checks of `tf.test.TestCase` on all elements of arrays, and threads that report what fails in them."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable
from typing import Any

import numpy as np


class CheckedThread(threading.Thread):
    """A thread of a test: `join` fails the test with what was raised in it."""

    def __init__(self, test: Any, target: Callable[..., Any], args: Any, kwargs: Any) -> None:
        super().__init__()
        self._test = test
        self._checked_target, self._checked_args, self._checked_kwargs = target, args, kwargs
        self._raised: BaseException | None = None
        self._joined = False

    def run(self) -> None:
        """Calls the target."""
        try:
            self._checked_target(*self._checked_args, **self._checked_kwargs)
        except BaseException as error:
            self._raised = error

    def join(self, timeout: float | None = None) -> None:
        """Waits for the end; AssertionError when the target raised something."""
        self._joined = True
        super().join(timeout)
        if self._raised is not None:
            raise self._test.failureException(
                f"Error in checkedThread: {self._raised!r}"
            ) from self._raised

    def check_termination(self) -> None:
        """Fails the test when the thread was not joined, or still runs."""
        if self.is_alive():
            self._test.fail("A checkedThread has not ended at the end of the test.")
        if not self._joined:
            self._test.fail("A checkedThread was never joined.")


class ElementChecks(unittest.TestCase):
    """The part of `TestCase` that looks at each element."""

    __test__ = False

    def _array(self, value: Any) -> Any:
        return np.asarray(value)

    def assertAllGreater(self, a: Any, comparison_target: Any) -> None:
        """Fails unless all elements are greater."""
        self.assertGreater(np.min(self._array(a)), comparison_target)

    def assertAllLess(self, a: Any, comparison_target: Any) -> None:
        """Fails unless all elements are less."""
        self.assertLess(np.max(self._array(a)), comparison_target)

    def assertAllGreaterEqual(self, a: Any, comparison_target: Any) -> None:
        """Fails unless all elements are greater or equal."""
        self.assertGreaterEqual(np.min(self._array(a)), comparison_target)

    def assertAllLessEqual(self, a: Any, comparison_target: Any) -> None:
        """Fails unless all elements are less or equal."""
        self.assertLessEqual(np.max(self._array(a)), comparison_target)

    def _fail_where(self, value: Any, bad: Any, what: str) -> None:
        where = np.argwhere(bad)
        if len(where):
            found = np.asarray(value)[tuple(where[:10].T)].tolist()
            self.fail(f"{len(where)} elements {what}, at {where[:10].tolist()}: {found}")

    def assertAllInRange(
        self,
        target: Any,
        lower_bound: Any,
        upper_bound: Any,
        open_lower_bound: bool = False,
        open_upper_bound: bool = False,
    ) -> None:
        """Fails unless all elements are between the bounds, which belong to the range unless they are open."""
        value = self._array(target)
        low = value <= lower_bound if open_lower_bound else value < lower_bound
        high = value >= upper_bound if open_upper_bound else value > upper_bound
        brackets = "(["[not open_lower_bound], ")]"[not open_upper_bound]
        span = f"{brackets[0]}{lower_bound}, {upper_bound}{brackets[1]}"
        self._fail_where(value, low | high | (value != value), f"are not in {span}")

    def assertAllInSet(self, target: Any, expected_set: Any) -> None:
        """Fails unless all elements are members of the set."""
        value = self._array(target)
        self._fail_where(value, ~np.isin(value, list(expected_set)), f"are not in {expected_set}")

    def assertAllFinite(self, a: Any) -> None:
        """Fails when an element is NaN or infinite."""
        value = self._array(a)
        self._fail_where(value, ~np.isfinite(value), "are not finite")

    def assertNotAllClose(self, a: Any, b: Any, **kwargs: Any) -> None:
        """Fails when `assertAllClose` would not."""
        try:
            self.assertAllClose(a, b, **kwargs)  # type: ignore[attr-defined]
        except AssertionError:
            return
        self.fail("The two values are close at all elements")

    def assertDTypeEqual(self, target: Any, expected_dtype: Any) -> None:
        """Fails unless the array or tensor has the dtype."""
        found = getattr(target, "dtype", None)
        if found is None:
            found = self._array(target).dtype
        found, expected = np.dtype(_numpy_of(found)), np.dtype(_numpy_of(expected_dtype))
        self.assertEqual(found, expected)

    def checkedThread(self, target: Any, args: Any = None, kwargs: Any = None) -> CheckedThread:
        """A thread whose failure is the test's: start it, and join it before the test ends."""
        thread = CheckedThread(self, target, args or (), kwargs or {})
        self.addCleanup(thread.check_termination)
        return thread

    # Names that Python has dropped or renamed since, and those of absl's TestCase.

    def assertRaisesRegexp(self, *args: Any, **kwargs: Any) -> Any:
        """`assertRaisesRegex`."""
        return self.assertRaisesRegex(*args, **kwargs)

    def assertRegexpMatches(self, text: Any, expected_regex: Any, msg: Any = None) -> None:
        """`assertRegex`."""
        self.assertRegex(text, expected_regex, msg)

    def assertNotRegexpMatches(self, text: Any, unexpected_regex: Any, msg: Any = None) -> None:
        """`assertNotRegex`."""
        self.assertNotRegex(text, unexpected_regex, msg)

    def assertItemsEqual(self, first: Any, second: Any, msg: Any = None) -> None:
        """`assertCountEqual`."""
        self.assertCountEqual(first, second, msg)

    def assertEquals(self, first: Any, second: Any, msg: Any = None) -> None:
        """`assertEqual`."""
        self.assertEqual(first, second, msg)

    def assertEmpty(self, container: Any, msg: Any = None) -> None:
        """Fails unless the container has no items."""
        self.assertEqual(len(container), 0, msg or f"{container!r} has length of {len(container)}.")

    def assertNotEmpty(self, container: Any, msg: Any = None) -> None:
        """Fails when the container has no items."""
        self.assertGreater(len(container), 0, msg or f"{container!r} has length of 0.")

    def assertLen(self, container: Any, expected_len: int, msg: Any = None) -> None:
        """Fails unless the container has so many items."""
        self.assertEqual(len(container), expected_len, msg)


def _numpy_of(dtype: Any) -> Any:
    return getattr(dtype, "as_numpy_dtype", dtype)
