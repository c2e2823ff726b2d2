"""Sequence-to-sequence networks of unrolled cells (TensorFlow: `tf.contrib.legacy_seq2seq`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core.dtypes import float32
from flowmesh.frontend.naming import name_scope
from flowmesh.frontend.rnn import static_rnn
from flowmesh.frontend.rnn_cell_wrappers import EmbeddingWrapper, OutputProjectionWrapper
from flowmesh.frontend.variable_scope import get_variable, get_variable_scope, variable_scope
from flowmesh.graph.raw import raw
from flowmesh.ops import comparison, math_functions, nn_softmax, shape_ops
from flowmesh.ops.cast import cast
from flowmesh.ops.embedding import embedding_lookup
from flowmesh.ops.identity import stop_gradient
from flowmesh.ops.nn_misc import xw_plus_b
from flowmesh.ops.reduce_functions import reduce_sum
from flowmesh.ops.reshape import reshape

Loop = Callable[[Any, int], Any]


def _next_embedding(embedding: Any, projection: Any = None, update: bool = True) -> Loop:
    """A loop function: the embedding of the likeliest output before."""

    def loop(previous: Any, _: int) -> Any:
        if projection is not None:
            previous = xw_plus_b(previous, projection[0], projection[1])
        embedded = embedding_lookup(embedding, comparison.argmax(previous, 1))
        return embedded if update else stop_gradient(embedded)

    return loop


def rnn_decoder(
    decoder_inputs: Sequence[Any],
    initial_state: Any,
    cell: Any,
    loop_function: Loop | None = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """Runs a cell over the inputs, each after the first replaced by `loop_function(output before, i)` where given."""
    with variable_scope(scope or "rnn_decoder"):
        state, outputs, previous = initial_state, [], None
        for index, step in enumerate(decoder_inputs):
            if loop_function is not None and previous is not None:
                with variable_scope("loop_function", reuse=True):
                    step = loop_function(previous, index)
            if index > 0:
                get_variable_scope().reuse_variables()
            output, state = cell(step, state)
            outputs.append(output)
            if loop_function is not None:
                previous = output
    return outputs, state


def basic_rnn_seq2seq(
    encoder_inputs: Sequence[Any],
    decoder_inputs: Sequence[Any],
    cell: Any,
    dtype: Any = float32,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """Encodes with a copy of the cell, decodes from its last state with the cell."""
    with variable_scope(scope or "basic_rnn_seq2seq"):
        _, state = static_rnn(copy.deepcopy(cell), encoder_inputs, dtype=dtype)
        return rnn_decoder(decoder_inputs, state, cell)


def tied_rnn_seq2seq(
    encoder_inputs: Sequence[Any],
    decoder_inputs: Sequence[Any],
    cell: Any,
    loop_function: Loop | None = None,
    dtype: Any = float32,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """As `basic_rnn_seq2seq`, with one set of variables for both."""
    with variable_scope("combined_tied_rnn_seq2seq"):
        shared = scope or "tied_rnn_seq2seq"
        _, state = static_rnn(cell, encoder_inputs, dtype=dtype, scope=shared)
        get_variable_scope().reuse_variables()
        return rnn_decoder(decoder_inputs, state, cell, loop_function, scope=shared)


def embedding_rnn_decoder(
    decoder_inputs: Sequence[Any],
    initial_state: Any,
    cell: Any,
    num_symbols: int,
    embedding_size: int,
    output_projection: Any = None,
    feed_previous: bool = False,
    update_embedding_for_previous: bool = True,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """`rnn_decoder` over embedded symbols; with `feed_previous` each step takes the likeliest symbol of the one before."""
    with variable_scope(scope or "embedding_rnn_decoder") as opened:
        if output_projection is not None:
            dtype = opened.dtype
            biases = raw.Cast(output_projection[1], DstT=dtype)
            biases.shape.assert_is_compatible_with([num_symbols])
        table = get_variable("embedding", [num_symbols, embedding_size])
        loop = (
            _next_embedding(table, output_projection, update_embedding_for_previous)
            if feed_previous
            else None
        )
        embedded = [embedding_lookup(table, i) for i in decoder_inputs]
        return rnn_decoder(embedded, initial_state, cell, loop_function=loop)


def embedding_rnn_seq2seq(
    encoder_inputs: Sequence[Any],
    decoder_inputs: Sequence[Any],
    cell: Any,
    num_encoder_symbols: int,
    num_decoder_symbols: int,
    embedding_size: int,
    output_projection: Any = None,
    feed_previous: bool = False,
    dtype: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """Encodes embedded symbols and decodes to scores of symbols (tf.contrib.legacy_seq2seq.embedding_rnn_seq2seq).

    Inputs are lists of int32 [batch]. `feed_previous` must be a bool: a tensor raises ValueError.
    """
    if not isinstance(feed_previous, (bool, np.bool_)):
        raise ValueError("embedding_rnn_seq2seq needs feed_previous as a bool")
    with variable_scope(scope or "embedding_rnn_seq2seq") as opened:
        if dtype is not None:
            opened.set_dtype(dtype)
        else:
            dtype = opened.dtype
        encoder = EmbeddingWrapper(copy.deepcopy(cell), num_encoder_symbols, embedding_size)
        _, state = static_rnn(encoder, encoder_inputs, dtype=dtype)
        if output_projection is None:
            cell = OutputProjectionWrapper(cell, num_decoder_symbols)
        return embedding_rnn_decoder(
            decoder_inputs, state, cell, num_decoder_symbols, embedding_size, output_projection, feed_previous
        )  # fmt: skip


def embedding_tied_rnn_seq2seq(
    encoder_inputs: Sequence[Any],
    decoder_inputs: Sequence[Any],
    cell: Any,
    num_symbols: int,
    embedding_size: int,
    num_decoder_symbols: int | None = None,
    output_projection: Any = None,
    feed_previous: bool = False,
    dtype: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:
    """As `embedding_rnn_seq2seq`, with one embedding and one set of variables for both sides."""
    with variable_scope(scope or "embedding_tied_rnn_seq2seq", dtype=dtype) as opened:
        table = get_variable("embedding", [num_symbols, embedding_size], dtype=opened.dtype)
        ahead = [embedding_lookup(table, x) for x in encoder_inputs]
        back = [embedding_lookup(table, x) for x in decoder_inputs]
        if output_projection is None:
            cell = OutputProjectionWrapper(cell, num_decoder_symbols or num_symbols)
        loop = _next_embedding(table, output_projection) if feed_previous else None
        return tied_rnn_seq2seq(ahead, back, cell, loop_function=loop, dtype=opened.dtype)


def sequence_loss_by_example(
    logits: Sequence[Any],
    targets: Sequence[Any],
    weights: Sequence[Any],
    average_across_timesteps: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Any:
    """The weighted cross entropy of each example of a sequence: [batch] (tf.contrib.legacy_seq2seq.sequence_loss_by_example).

    Raises ValueError unless the three lists are as long.
    """
    if len(targets) != len(logits) or len(weights) != len(logits):
        raise ValueError(
            f"Lengths of logits, weights, and targets must be the same {len(logits)}, {len(weights)}, {len(targets)}."
        )
    with name_scope(name, "sequence_loss_by_example", [*logits, *targets, *weights]):
        losses = []
        for logit, target, weight in zip(logits, targets, weights):
            if softmax_loss_function is None:
                target = reshape(target, np.array([-1], np.int32))
                loss = nn_softmax.sparse_softmax_cross_entropy_with_logits(
                    labels=target, logits=logit
                )
            else:
                loss = softmax_loss_function(labels=target, logits=logit)
            losses.append(loss * weight)
        total = math_functions.add_n(losses)
        if average_across_timesteps:
            total = total / (math_functions.add_n(list(weights)) + 1e-12)
    return total


def sequence_loss(
    logits: Sequence[Any],
    targets: Sequence[Any],
    weights: Sequence[Any],
    average_across_timesteps: bool = True,
    average_across_batch: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Any:
    """The sum of `sequence_loss_by_example` over the batch, averaged unless told otherwise."""
    with name_scope(name, "sequence_loss", [*logits, *targets, *weights]):
        cost = reduce_sum(
            sequence_loss_by_example(
                logits, targets, weights, average_across_timesteps, softmax_loss_function
            )
        )
        if not average_across_batch:
            return cost
        return cost / cast(shape_ops.shape(targets[0])[0], cost.dtype)
