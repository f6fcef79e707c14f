"""``checks``: installed libraries, devices, instructions and writable folders of this machine.

It works without torch; if torch is installed, it reports torch's devices. No socket is opened.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from detector import __version__
from detector.settings.inform import CheckSettings
from detector.settings.train import TrainSettings
from detector.utils import machine, system
from detector.utils.errors import DetectorError
from detector.utils.machine import Folder
from detector.utils.requirements import BASE, Library, libraries
from detector.utils.system import DISTRIBUTION

UNKNOWN = "–"
"""Text shown for a fact that the system does not report."""


@dataclass(frozen=True)
class Device:
    """A device that torch can use.

    Attributes:
        name: value for ``--device``, such as ``cuda:0``.
        model: the manufacturer's name.
        memory_bytes: total memory, or None if unknown.
    """

    name: str
    model: str
    memory_bytes: int | None


@dataclass(frozen=True)
class Torch:
    """Facts about the installed torch; all empty if it is not installed.

    Attributes:
        version: version, or None if torch cannot be imported.
        devices: accelerators that it can use.
        cpu_capabilities: CPU instructions by torch's names, or None if unknown.
        issue: reason why an installed torch cannot be imported, or None.
    """

    version: str | None = None
    devices: tuple[Device, ...] = ()
    cpu_capabilities: Mapping[str, object] | None = None
    issue: str | None = None


def checks(settings: CheckSettings) -> dict[str, Any]:
    """Print and return installed libraries, hardware, and which folders are writable.

    Raises:
        DetectorError: the base cannot be imported, so that no tool would work.
    """
    torch = ask_torch()
    extras = _extras(torch)
    folders = _folders()
    found = _machine(torch)
    rows = [*_machine_rows(found), *_library_rows(extras), *_folder_rows(folders)]
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if note := _note(torch):
        print(note)
    _check_base()
    return {**found, "extras": _extras_to_dict(extras), "folders": _folders_to_dict(folders)}


def ask_torch() -> Torch:
    """Import torch, if it is installed, and query its devices."""
    try:
        import torch
    except ModuleNotFoundError:
        return Torch()
    except (ImportError, OSError) as error:  # one of its shared libraries is missing or too old
        return Torch(issue=str(error).partition("\n")[0])
    devices = [
        Device(f"cuda:{number}", torch.cuda.get_device_name(number), total)
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        for total in (torch.cuda.get_device_properties(number).total_memory,)
    ]
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU", torch.mps.recommended_max_memory()))
    # Older versions of torch have no such function.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else None
    return Torch(torch.__version__, tuple(devices), capabilities)


def _extras(torch: Torch) -> dict[str, list[Library]]:
    """Return required libraries by extra; a torch that cannot be imported counts as absent."""
    return {
        extra: [
            replace(library, version=torch.version) if library.name == "torch" else library
            for library in wanted
        ]
        for extra, wanted in libraries(DISTRIBUTION).items()
    }


def _machine(torch: Torch) -> dict[str, Any]:
    """Return versions and hardware; unknown facts are None."""
    info = machine.cpu_info()
    total, available = machine.memory()
    return {
        "detector": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "cpu": machine.cpu_name(info),
        "cores": system.available_cores(),
        "memory_bytes": total,
        "available_bytes": available,
        "instructions": machine.instructions(info, torch.cpu_capabilities),
        "torch": torch.version,
        "devices": [asdict(device) for device in torch.devices],
    }


def _machine_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    total, available = _gibibytes(found["memory_bytes"]), _gibibytes(found["available_bytes"])
    instructions = found["instructions"]
    devices = [
        f"{device['name']} {device['model']} {_gibibytes(device['memory_bytes'])}"
        for device in found["devices"]
    ]
    return [
        ("detector", f"{found['detector']}, distribution {DISTRIBUTION}"),
        ("Python", f"{found['python']}, {found['executable']}"),
        ("system", found["system"]),
        ("CPU", found["cpu"] or UNKNOWN),
        ("cores", f"{found['cores']} for this process"),
        ("memory", f"{total}, {available} available"),
        ("matrix instructions", UNKNOWN if instructions is None else _joined(instructions)),
        ("devices", _joined(["cpu", *devices])),
    ]


def _library_rows(extras: Mapping[str, Sequence[Library]]) -> list[tuple[str, str]]:
    """Return one row per extra, smallest first, with missing libraries and installed versions.

    A version that is listed in one row is not repeated in the next ones.
    """
    if not extras:
        return [("libraries", f"{UNKNOWN}, {DISTRIBUTION} is not installed by pip")]
    rows, named = [], set[str]()
    others = sorted(extras.keys() - {BASE}, key=lambda extra: (len(extras[extra]), extra))
    for extra in (BASE, *others):
        missing = [library for library in extras[extra] if not library.fits]
        new = [library for library in extras[extra] if library.fits and library.name not in named]
        named |= {library.name for library in new}
        state = f"missing {', '.join(map(_missing, missing))}" if missing else "complete"
        versions = ", ".join(f"{library.name} {library.version}" for library in new)
        rows.append(
            (extra if extra == BASE else f"extra {extra}", f"{state}: {versions}".rstrip(": "))
        )
    return rows


def _missing(library: Library) -> str:
    """Return a library's name; if another version is installed, ``torch 2.9 (<3,>=2.10)``."""
    if library.version is None:
        return library.name
    return f"{library.name} {library.version} ({library.bounds})"


def _folders() -> dict[str, Folder]:
    """Return the folders that commands write to by default, by name."""
    places = {
        "current folder": Path(),
        "runs": Path("runs"),
        "cache": TrainSettings.model_fields["cache_dir"].default,
        "temporary files": machine.temporary_folder(),
    }
    return {name: machine.folder(path) for name, path in places.items()}


def _folder_rows(folders: Mapping[str, Folder]) -> list[tuple[str, str]]:
    return [
        (
            name,
            f"{folder.path}, {folder.issue or 'writable'}, {_gibibytes(folder.free_bytes)} free",
        )
        for name, folder in folders.items()
    ]


def _note(torch: Torch) -> str:
    """Return a line on what works without torch, or "" if torch is installed."""
    if torch.version is not None:
        return ""
    reason = f"cannot be imported ({torch.issue})" if torch.issue else "is not installed"
    return (
        f"torch {reason}: detect runs .onnx and .xml files; train and val need the extra "
        f"train, export needs the extra export: pip install '{DISTRIBUTION}[export]'"
    )


def _check_base() -> None:
    """Raise DetectorError if a library of the base cannot be imported."""
    try:
        importlib.import_module("detector.utils.opencv")
    except ImportError as error:
        raise DetectorError(f"the base cannot be imported: {error}") from error


def _extras_to_dict(extras: Mapping[str, Sequence[Library]]) -> dict[str, Any]:
    return {
        extra: {
            "complete": all(library.fits for library in wanted),
            "versions": {library.name: library.version for library in wanted},
        }
        for extra, wanted in extras.items()
    }


def _folders_to_dict(folders: Mapping[str, Folder]) -> dict[str, Any]:
    return {
        name: {
            "path": str(folder.path),
            "writable": folder.issue is None,
            "free_bytes": folder.free_bytes,
        }
        for name, folder in folders.items()
    }


def _joined(words: Sequence[str]) -> str:
    return ", ".join(words) or "none"


def _gibibytes(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count / 2**30:.1f} GiB"
