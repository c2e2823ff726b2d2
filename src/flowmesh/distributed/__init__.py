"""Masters, workers and servers: what runs graphs on the tasks of a cluster, in this process or over gRPC."""
