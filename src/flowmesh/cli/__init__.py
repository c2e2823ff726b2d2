"""The ``flowmesh`` command: one module per sub-command, each imported when it is asked for."""
