"""Exported files: one format a file, and a check that each computes what the network computes.

``detector.export(model, …)`` calls :func:`detector.export.request.export`: the room and the
function share their name, so the module can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.export.run import ExportReport


class _CallableModule(ModuleType):
    def __call__(self, *arguments: Any, **settings: Any) -> ExportReport:
        """Export a network; see :func:`detector.export.request.export`."""
        from detector.export.request import export  # reading a .pt2 file imports this room, too

        return export(*arguments, **settings)


sys.modules[__name__].__class__ = _CallableModule
