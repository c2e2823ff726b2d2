"""What programs use of `tf.contrib`."""

from __future__ import annotations

from flowmesh.api.contrib import (
    all_reduce as all_reduce,
    data as data,
    framework as framework,
    layers as layers,
    learn as learn,
    legacy_seq2seq as legacy_seq2seq,
    mnist_tutorial as mnist_tutorial,
    nccl as nccl,
    resources as resources,
    rnn as rnn,
    slim as slim,
    slim_losses as losses,
    staging as staging,
    training as training,
    util as util,
)
