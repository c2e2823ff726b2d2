"""CSV records through host queues, read and parsed 1000 at a time (`read_up_to`, `enqueue_many`)."""

TITLE = "CSV records, 1000 at a time, through queues to batches of 128"
TABLE = "host"
UNIT = "records"
PER_STEP = 128
GATES = {"tf115": 1.0}
WARM_UP = 20
WARM_SECONDS = 5
READ = 1000


def build(tf, batch=PER_STEP, **sizes):
    import importlib

    return importlib.import_module("rows.csv_pipeline").pipeline(tf, READ, batch, **sizes)
