"""What lower layers leave open for the top to bind: pieces of siblings that may not import each other."""

from __future__ import annotations

from flowmesh import ops as _ops
from flowmesh.summaries.writer import FileWriter, FileWriterCache
from flowmesh.training import hooks_support, supervisor

supervisor.set_summary_writer_factory(FileWriter)
hooks_support.set_cached_writer_factory(FileWriterCache.get)
