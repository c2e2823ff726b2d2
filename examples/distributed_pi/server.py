"""One task of the cluster for client.py: start it once per task.

python examples/distributed_pi/server.py --index 0 &
python examples/distributed_pi/server.py --index 1 &
python examples/distributed_pi/client.py
"""

import argparse

import flowmesh as tf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--index", type=int, required=True, help="index of this task")
parser.add_argument(
    "--hosts", default="localhost:2222,localhost:2223", help="addresses of all tasks"
)
args = parser.parse_args()

cluster = tf.train.ClusterSpec({"local": args.hosts.split(",")})
server = tf.train.Server(cluster, job_name="local", task_index=args.index)
print(f"task {args.index} serves at {server.target}", flush=True)
server.join()
