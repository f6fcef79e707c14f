"""Facts about this machine: the CPU's name and instructions, memory, folders and their free space.

No process is started and nothing is left behind. A fact that a system does not tell is None.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
MEMORY_INFO = Path("/proc/meminfo")

INSTRUCTIONS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f", "avx512_f"},
    "AVX-VNNI": {"avx_vnni"},
    "AVX-512 VNNI": {"avx512_vnni"},
    "AVX-512 bf16": {"avx512_bf16"},
    "AMX int8": {"amx_int8"},
    "AMX bf16": {"amx_bf16"},
    "AMX fp16": {"amx_fp16"},
    "NEON": {"asimd", "neon"},
    "NEON fp16": {"asimdhp"},
    "NEON dot product": {"asimddp"},
    "SVE": {"sve"},
    "SVE2": {"sve2"},
    "SME": {"sme"},
    "int8 matrices": {"i8mm"},
    "bf16": {"bf16"},
}
"""Instructions that multiply many numbers at once, by the names that Linux and torch have for them:
first those of x86-64, then those of ARM."""


@dataclass(frozen=True)
class Folder:
    """A folder that may be written to.

    Args:
        path: absolute.
        free_bytes: on its disk; None where the system does not say.
        problem: why nothing can be written there, or None.
    """

    path: Path
    free_bytes: int | None
    problem: str | None


def cpu_info(path: Path = CPU_INFO) -> dict[str, str]:
    """Return what Linux says about the first core, by lower-case name; empty elsewhere."""
    return _fields(path, until_blank=True)


def cpu_name(info: Mapping[str, str]) -> str | None:
    """Return the CPU's name: ARM's cores often have none in Linux."""
    return info.get("model name") or info.get("hardware") or platform.processor() or None


def instructions(
    info: Mapping[str, str], capabilities: Mapping[str, object] | None = None
) -> list[str] | None:
    """Return which of :data:`INSTRUCTIONS` the CPU has, or None where nobody says.

    Args:
        info: of :func:`cpu_info`.
        capabilities: of ``torch.cpu.get_capabilities()``, which are asked where Linux says nothing.
    """
    words = info.get("flags") or info.get("features")
    known = (
        set(words.split()) if words else {name for name, has in (capabilities or {}).items() if has}
    )
    if not known:
        return None
    return [name for name, flags in INSTRUCTIONS.items() if flags & known]


def memory() -> tuple[int | None, int | None]:
    """Return the bytes of memory that the machine has, and those that are available."""
    info = _fields(MEMORY_INFO)
    if "memtotal" in info:
        total, available = info["memtotal"], info.get("memavailable")
        return _kibibytes(total), None if available is None else _kibibytes(available)
    if sys.platform == "win32":
        return None, None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    except (OSError, ValueError):
        return None, None


def folder(path: str | Path) -> Folder:
    """Find out whether files can be written to a folder, which need not exist yet.

    A file without a name is written to the folder, or to the nearest one above it that exists.
    """
    path = Path(path).absolute()
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not existing.is_dir():
        return Folder(path, None, f"{existing} is not a folder")
    problem = None
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        problem = error.strerror or str(error)
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return Folder(path, None, problem)
    return Folder(path, free, problem)


def temporary_folder() -> Path:
    """Return the folder for temporary files, or the one that was meant where none can be used."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _fields(path: Path, until_blank: bool = False) -> dict[str, str]:
    """Read ``name : value`` lines of a file of Linux's ``/proc``; empty if there is none."""
    try:
        lines: Iterable[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
        elif until_blank:
            break
    return found


def _kibibytes(text: str) -> int:
    return 1024 * int(text.split(maxsplit=1)[0])
