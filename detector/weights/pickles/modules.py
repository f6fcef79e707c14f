"""Trees of pickled ``nn.Module``: their modules and tensors, by the paths of a state dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.utils.errors import DetectorError, shown
from detector.weights.pickles.machine import PickledObject, StoredTensor

MAX_MODULES = 100_000
"""Maximum number of modules of a network."""
MAX_DEPTH = 64
"""Maximum nesting depth of modules."""
MAX_NAME = 100
"""Maximum length of a module's name, in characters."""


def children(module: PickledObject) -> dict[str, Any]:
    """Return the modules directly inside a module, by name."""
    found = module.state.get("_modules")
    return found if isinstance(found, dict) else {}


def walk(root: PickledObject, name: str, path: Path) -> Iterator[tuple[str, PickledObject]]:
    """Yield all modules with their paths.

    Args:
        root: a module with its attributes by name.
        name: its path; may be empty.
        path: the checkpoint, for error messages.

    Raises:
        DetectorError: the tree contains itself or is too large, or a name is no name.
    """
    stack = [(name, root, 0)]
    seen = 0
    while stack:
        module_path, module, depth = stack.pop()
        seen += 1
        if seen > MAX_MODULES or depth > MAX_DEPTH:
            raise DetectorError("its network is nested too deeply or too large", file=path)
        yield module_path, module
        for child_name, child in children(module).items():
            if not isinstance(child_name, str) or len(child_name) > MAX_NAME:
                raise DetectorError(f"a module is called {shown(child_name)}", file=path)
            if isinstance(child, PickledObject) and isinstance(child.state, dict):
                inside = f"{module_path}.{child_name}" if module_path else child_name
                stack.append((inside, child, depth + 1))


def stored_tensors(module: PickledObject) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the parameters and buffers of a module itself, by name."""
    for group in ("_parameters", "_buffers"):
        tensors = module.state.get(group)
        for name, stored in (tensors if isinstance(tensors, dict) else {}).items():
            if isinstance(stored, StoredTensor):
                yield name, stored
