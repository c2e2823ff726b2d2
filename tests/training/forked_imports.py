"""What the process that tasks are forked from imports: everything that does not start threads."""

import grpc  # noqa: F401
import jax  # noqa: F401

import flowmesh
import flowmesh.distributed.server
import flowmesh.runtime.xla  # noqa: F401
