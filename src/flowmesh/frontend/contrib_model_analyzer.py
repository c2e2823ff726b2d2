"""Sizes of variables and operations (TensorFlow: `tf.contrib.slim.model_analyzer`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def tensor_description(var: Any) -> str:
    """The dtype and shape of a tensor or variable as text: `(float32_ref 3x4)`."""
    sizes = [str(size) for size in var.shape.as_list()]
    return f"({var.dtype.name} {'x'.join(sizes)})"


def analyze_ops(graph: Any, print_info: bool = False) -> int:
    """How many elements the outputs of a graph's operations have, as far as shapes are known; prints them if asked."""
    total = 0
    for op in graph.get_operations():
        size = sum(t.shape.num_elements() or 0 for t in op.outputs)
        total += size
        if print_info and size > 0:
            print(op.name, "->", ", ".join(tensor_description(t) for t in op.outputs), f"[{size}]")
    if print_info:
        print("Total size of ops:", total)
    return total


def analyze_vars(variables: Iterable[Any], print_info: bool = False) -> tuple[int, int]:
    """`(number of elements, bytes)` of variables; prints each of them and the total if asked."""
    total, total_bytes = 0, 0
    if print_info:
        print("---------\nVariables: name (type shape) [size]\n---------")
    for var in variables:
        size = math.prod(d or 0 for d in var.shape.as_list())
        total += size
        total_bytes += size * var.dtype.base_dtype.size
        if print_info:
            print(
                f"{var.name} {tensor_description(var)} [{size}, bytes: {size * var.dtype.base_dtype.size}]"
            )
    if print_info:
        print("Total size of variables:", total)
        print("Total bytes of variables:", total_bytes)
    return total, total_bytes
