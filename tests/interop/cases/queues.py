"""Queues, queue runners and readers on the cluster."""

import os

from cases.registry import case


@case()
def fifo_queue(tf, ctx):
    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(
            10, [tf.float32, tf.string], [[2], []], shared_name=ctx.container + "fifo"
        )
    with tf.device(ctx.worker):
        put = queue.enqueue(([1.0, 2.0], "a"))
        many = queue.enqueue_many(([[3.0, 4.0], [5.0, 6.0]], ["b", "c"]))
        take, some, size = queue.dequeue(), queue.dequeue_many(2), queue.size()
        close, closed = queue.close(), queue.is_closed()
    with ctx.session() as session:
        session.run([put])
        session.run(many)
        seen = [session.run(size), session.run(take), session.run(some), session.run(closed)]
        session.run(close)
        return [
            *seen,
            session.run(closed),
            ctx.failure(session.run, take),
            ctx.failure(session.run, put),
        ]


@case()
def other_queues(tf, ctx):
    with tf.device(ctx.ps):
        padding = tf.PaddingFIFOQueue(5, [tf.int32], [[None]])
        priority = tf.PriorityQueue(5, [tf.string], [[]])
        shuffled = tf.RandomShuffleQueue(10, 0, [tf.int32], [[]], seed=3)
    with ctx.session() as session:
        session.run(padding.enqueue([[1]]))
        session.run(padding.enqueue([[2, 3]]))
        for rank, text in ((3, "c"), (1, "a"), (2, "b")):
            session.run(priority.enqueue([tf.constant(rank, tf.int64), text]))
        session.run(shuffled.enqueue_many([[5, 6, 7, 8]]))
        return [
            session.run(padding.dequeue_many(2)),
            [session.run(x) for x in [priority.dequeue()] * 3],
            sorted(session.run(shuffled.dequeue_many(4)).tolist()),
        ]


@case()
def queue_runners(tf, ctx):
    with tf.device(ctx.worker):
        numbers = tf.train.range_input_producer(6, num_epochs=2, shuffle=False).dequeue()
        batch = tf.train.batch([numbers], 4)
    seen = []
    with ctx.session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        try:
            while not coordinator.should_stop():
                seen.append(session.run(batch))
        except tf.errors.OutOfRangeError:
            seen.append("out of range")
        finally:
            coordinator.request_stop()
            coordinator.join(threads, stop_grace_period_secs=20)
    return seen


@case()
def readers(tf, ctx):
    path = os.path.join(ctx.folder, "lines.txt")
    with open(path, "w") as out:
        out.write("1,2.5\n2,3.5\n")
    with tf.device(ctx.worker):
        queue = tf.FIFOQueue(4, tf.string, shapes=[[]])
        fill, close = queue.enqueue([path]), queue.close()
        key, line = tf.TextLineReader().read(queue)
        columns = tf.decode_csv(line, [[0], [0.0]])
    with ctx.session() as session:
        session.run(fill)
        session.run(close)
        seen = [session.run([line, *columns]) for _ in range(2)]
        return [*seen, ctx.failure(session.run, key)]


@case()
def blocked_dequeue_and_close(tf, ctx):
    """A close that cancels fails the blocked dequeue of another thread."""
    import threading

    with tf.device(ctx.ps):
        queue = tf.FIFOQueue(2, tf.float32, [[]])
        take, cancel = queue.dequeue(), queue.close(cancel_pending_enqueues=True)
    seen = []
    with ctx.session() as session:
        session.run(queue.size())
        thread = threading.Thread(target=lambda: seen.append(ctx.failure(session.run, take)))
        thread.start()
        session.run(cancel)
        thread.join(20)
    return seen
