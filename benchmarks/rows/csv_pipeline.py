"""CSV records through host queues: files to lines, lines to columns, columns to batches, each line an element of a queue."""

TITLE = "CSV records, one at a time, through queues to batches of 128"
TABLE = "host"
UNIT = "records"
PER_STEP = 128
GATES = {"tf115": 1.0}
WARM_UP = 20
WARM_SECONDS = 5
READ = 1


def write_file(records):
    """A file of records of ten numbers, a word and a label."""
    import os
    import random
    import tempfile

    source = random.Random(0)
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "records.csv")
    with open(path, "w") as file:
        for _ in range(records):
            numbers = ",".join(f"{source.random():.5f}" for _ in range(10))
            word, label = source.randrange(1000), source.randrange(10)
            file.write(f"{numbers},word{word},{label}\n")
    return path


def pipeline(tf, read, batch, records=20000, parallel=2):
    """A step that fetches a batch; `read` records are read and parsed at a time.

    The queue is short, so that what it has gathered while other sides were measured does not count for much.
    """
    import atexit
    import os
    import shutil

    path = write_file(records)
    atexit.register(shutil.rmtree, os.path.dirname(path))
    files = tf.train.string_input_producer([path], shuffle=False)
    reader = tf.TextLineReader()
    if read == 1:
        _, lines = reader.read(files)
    else:
        _, lines = reader.read_up_to(files, read)
    columns = tf.decode_csv(lines, [[0.0]] * 10 + [[""], [0]])
    features = tf.stack(columns[:10], -1)
    batches = tf.train.batch(
        [features, columns[10], columns[11]],
        batch,
        num_threads=parallel,
        capacity=2 * batch,
        enqueue_many=read != 1,
    )
    session = tf.Session()
    coordinator = tf.train.Coordinator()
    threads = tf.train.start_queue_runners(session, coordinator)

    def step():
        return session.run(batches)

    def close():
        coordinator.request_stop()
        session.close()
        coordinator.join(threads, stop_grace_period_secs=30)

    step.close = close
    return step


def build(tf, batch=PER_STEP, **sizes):
    return pipeline(tf, READ, batch, **sizes)
