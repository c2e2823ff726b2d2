"""What outlives a step: variables, queues and readers, kept by name in containers. No graph, no JAX."""
