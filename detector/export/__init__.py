"""Export to other formats, with proof that each file computes the same as the network.

``detector.export(model, …)`` calls :func:`detector.export.request.export`: the package and the
function share their name, so the module is callable.
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
