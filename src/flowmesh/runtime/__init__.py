"""Running a part of a graph on the devices of one task: executor, XLA clusters, rendezvous, devices."""
