"""All op definitions and their public wrappers. Importing the package registers every op and binds the graph's hooks."""

from __future__ import annotations

import importlib
import pkgutil

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
