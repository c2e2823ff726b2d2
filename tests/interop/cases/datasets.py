"""Input pipelines on the cluster: the client's functions go with the graph."""

import numpy as np
from cases.registry import case


def _all(session, following, errors):
    out = []
    while True:
        try:
            out.append(session.run(following))
        except errors.OutOfRangeError:
            return out


# TensorFlow 2 shuffles in another order.
@case(clients=("tf115", "flowmesh"), servers=("tf115", "flowmesh"))
def pipeline(tf, ctx):
    with tf.device(ctx.worker):
        added = tf.constant(3, tf.int64)
        dataset = tf.data.Dataset.range(20).map(lambda x: x * 2 + added, num_parallel_calls=2)
        dataset = dataset.filter(lambda x: tf.not_equal(x % 5, 0)).shuffle(4, seed=5)
        dataset = dataset.repeat(2).batch(3).prefetch(2)
        iterator = dataset.make_initializable_iterator()
        following = iterator.get_next()
    with tf.device(ctx.ps):
        total = tf.reduce_sum(following)
    with ctx.session() as session:
        early = ctx.failure(session.run, following)
        session.run(iterator.initializer)
        first = _all(session, following, tf.errors)
        session.run(iterator.initializer)
        return [early, first, session.run([following, total])]


@case(clients=("tf115", "flowmesh"))
def one_shot_and_nested(tf, ctx):
    with tf.device(ctx.ps):
        dataset = tf.data.Dataset.from_tensor_slices({"n": [1, 3, 2], "s": ["a", "b", "c"]})
        dataset = dataset.interleave(
            lambda e: tf.data.Dataset.range(tf.cast(e["n"], tf.int64)).map(
                lambda k: (k, e["s"], tf.fill([k], 1.5))
            ),
            cycle_length=2,
        )
        dataset = dataset.padded_batch(2, ([], [], [None]))
        following = dataset.make_one_shot_iterator().get_next()
    with ctx.session() as session:
        return [list(element) for element in _all(session, following, tf.errors)]


@case(clients=("tf115", "flowmesh"))
def feedable(tf, ctx):
    with tf.device(ctx.worker):
        numbers = tf.data.Dataset.range(3)
        iterators = [
            numbers.map(lambda x, k=k: x + k).make_initializable_iterator() for k in (0, 100)
        ]
        handle = tf.placeholder(tf.string, [])
        following = tf.data.Iterator.from_string_handle(handle, tf.int64, []).get_next()
        structure = tf.data.Iterator.from_structure(tf.int64, [])
        begins = [structure.make_initializer(numbers.skip(k)) for k in (1, 2)]
        again = structure.get_next()
    with ctx.session() as session:
        session.run([i.initializer for i in iterators])
        handles = session.run([i.string_handle() for i in iterators])
        out = [session.run(following, {handle: handles[k]}) for k in (0, 1, 1, 0, 1)]
        for begin in begins:
            session.run(begin)
            out.append(session.run(again))
        return out


@case(clients=("tf115", "flowmesh"))
def errors_of_elements(tf, ctx):
    with tf.device(ctx.worker):
        dataset = tf.data.Dataset.range(4).map(
            lambda x: tf.check_numerics(1.0 / tf.cast(x - 1, tf.float32), "none")
        )
        following = dataset.make_one_shot_iterator().get_next()
    with ctx.session() as session:
        out = [session.run(following), ctx.failure(session.run, following)]
        out += [session.run(following), session.run(following)]
        return [*out, ctx.failure(session.run, following)]


@case(clients=("tf115", "flowmesh"))
def files_through_datasets(tf, ctx):
    import os

    path = os.path.join(ctx.folder, "lines.csv")
    with open(path, "w") as file:
        file.write("".join(f"{i},{i}.5,n{i}\n" for i in range(5)))
    with tf.device(ctx.worker):
        records = tf.data.experimental.CsvDataset(path, [tf.int32, tf.float32, tf.string])
        lines = tf.data.TextLineDataset([path, path]).skip(3).batch(4)
        one = records.batch(2).make_one_shot_iterator().get_next()
        two = lines.make_one_shot_iterator().get_next()
    with ctx.session() as session:
        found = [list(e) for e in _all(session, one, tf.errors)]
        return [found, _all(session, two, tf.errors), np.float32(1)]
