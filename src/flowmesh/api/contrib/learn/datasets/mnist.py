"""`tensorflow.examples.tutorials.mnist.input_data`, also known as `tf.contrib.learn.datasets.mnist`."""

from __future__ import annotations

from flowmesh.frontend.mnist import (
    DataSet as DataSet,
    Datasets as Datasets,
    dense_to_one_hot as dense_to_one_hot,
    extract_images as extract_images,
    extract_labels as extract_labels,
    load_mnist as load_mnist,
    read_data_sets as read_data_sets,
)
