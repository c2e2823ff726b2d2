"""What a case is, and what it is given."""

CASES = {}
LOCAL = "local"


class Case:
    """A program: `function(tf, ctx)` returns what it saw."""

    def __init__(self, function, expect, clients, servers):
        self.name = function.__name__
        self.function = function
        self.expect = expect
        self.clients = clients
        self.servers = servers


def case(expect=LOCAL, clients=("tf115", "tf2", "flowmesh"), servers=("tf115", "tf2", "flowmesh")):
    """Registers a program. It must see `expect`; by default, what it sees in a session of one process of TensorFlow.

    `clients` are those that can run it, `servers` those that all tasks of the cluster must be among.
    """

    def register(function):
        CASES[function.__name__] = Case(function, expect, clients, servers)
        return function

    return register


class Context:
    """Where a program runs."""

    def __init__(self, tf, target, folder, container, extra=None):
        self.tf = tf
        self.target = target
        self.folder = folder
        # TensorFlow allows no "_" in the name of a container.
        self.container = container
        self.extra = extra
        remote = bool(target)
        self.ps = "/job:ps/task:0" if remote else ""
        self.worker = "/job:worker/task:0" if remote else ""

    def config(self, **fields):
        """A ConfigProto that bounds every step."""
        return self.tf.ConfigProto(operation_timeout_in_ms=20000, **fields)

    def session(self, **fields):
        """A session on the cluster."""
        return self.tf.Session(self.target, config=self.config(**fields))

    def failure(self, function, *args, **kwargs):
        """The name of the error class that a call raises."""
        try:
            function(*args, **kwargs)
        except self.tf.errors.OpError as error:
            return type(error).__name__
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "no error"
