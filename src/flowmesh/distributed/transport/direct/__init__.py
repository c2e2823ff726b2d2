"""The direct plane: steps and tensors between Flowmesh tasks over sockets and shared memory, agreed on over gRPC."""
