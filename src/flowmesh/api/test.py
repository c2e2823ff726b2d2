"""Tests of programs: the names of `tf.test`."""

from __future__ import annotations

from unittest import mock as mock

from flowmesh.training.benchmark import Benchmark as Benchmark
from flowmesh.training.testing import (
    TestCase as TestCase,
    assert_equal_graph_def as assert_equal_graph_def,
    compute_gradient as compute_gradient,
    compute_gradient_error as compute_gradient_error,
    create_local_cluster as create_local_cluster,
    get_temp_dir as get_temp_dir,
    gpu_device_name as gpu_device_name,
    is_built_with_cuda as is_built_with_cuda,
    is_gpu_available as is_gpu_available,
    main as main,
    test_src_dir_path as test_src_dir_path,
)

__all__ = [
    "Benchmark",
    "TestCase",
    "assert_equal_graph_def",
    "compute_gradient",
    "compute_gradient_error",
    "create_local_cluster",
    "get_temp_dir",
    "gpu_device_name",
    "is_built_with_cuda",
    "is_gpu_available",
    "main",
    "mock",
    "test_src_dir_path",
]
