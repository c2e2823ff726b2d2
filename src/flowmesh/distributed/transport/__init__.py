"""How masters and workers are reached: by a call within the process, or by gRPC."""
