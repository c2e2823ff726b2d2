"""``python -m flowmesh`` is the ``flowmesh`` command."""

import sys

from flowmesh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
