"""One task of a cluster: `python server.py MODULE CLUSTER_JSON JOB INDEX`; it ends when its standard input does."""

import json
import os
import sys

from runner import load


def main():
    module, cluster, job, index = sys.argv[1:5]
    tf = load(module)
    config = tf.ConfigProto(inter_op_parallelism_threads=4, intra_op_parallelism_threads=1)
    server = tf.train.Server(json.loads(cluster), job, int(index), config=config)
    print("ready " + server.target, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
