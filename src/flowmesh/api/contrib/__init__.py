"""What programs use of `tf.contrib`."""

from __future__ import annotations

from flowmesh.api.contrib import (
    framework as framework,
    layers as layers,
    learn as learn,
    legacy_seq2seq as legacy_seq2seq,
    resources as resources,
    rnn as rnn,
    slim as slim,
    slim_losses as losses,
    training as training,
    util as util,
)
