"""Facts about this machine: the CPU's name and instructions, memory, folders and their free space.

No process is started and no file is left behind. A fact that the system does not report is None.
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
"""SIMD and matrix instructions → their flags in Linux and torch; first x86-64, then ARM."""


@dataclass(frozen=True)
class Folder:
    """A folder, and whether files can be written to it.

    Attributes:
        path: absolute path.
        free_bytes: free space on its disk, or None if the system does not report it.
        issue: reason why no file can be written, or None.
    """

    path: Path
    free_bytes: int | None
    issue: str | None


def cpu_info(path: Path = CPU_INFO) -> dict[str, str]:
    """Return Linux's facts about the first core by lower-case name; empty on other systems."""
    return _fields(path, until_blank=True)


def cpu_name(info: Mapping[str, str]) -> str | None:
    """Return the CPU's name, or None; Linux often has none for ARM."""
    return info.get("model name") or info.get("hardware") or platform.processor() or None


def instructions(
    info: Mapping[str, str], capabilities: Mapping[str, object] | None = None
) -> list[str] | None:
    """Return which of :data:`INSTRUCTIONS` the CPU has, or None if that is unknown.

    Args:
        info: result of :func:`cpu_info`.
        capabilities: result of ``torch.cpu.get_capabilities()``, used if ``info`` lists no flags.
    """
    words = info.get("flags") or info.get("features")
    known = (
        set(words.split()) if words else {name for name, has in (capabilities or {}).items() if has}
    )
    if not known:
        return None
    return [name for name, flags in INSTRUCTIONS.items() if flags & known]


def memory() -> tuple[int | None, int | None]:
    """Return the machine's memory and the available part of it in bytes; None if unknown."""
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
    """Test whether files can be written to a folder, which need not exist yet.

    A temporary file is written to the folder, or to its nearest parent that exists.
    """
    path = Path(path).absolute()
    existing = next(place for place in (path, *path.parents) if place.exists())
    if not existing.is_dir():
        return Folder(path, None, f"{existing} is not a folder")
    issue = None
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        issue = error.strerror or str(error)
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return Folder(path, None, issue)
    return Folder(path, free, issue)


def temporary_folder() -> Path:
    """Return the folder for temporary files; if none is usable, the one that is configured."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _fields(path: Path, until_blank: bool = False) -> dict[str, str]:
    """Read ``name : value`` lines of a file in Linux's ``/proc``; empty if it does not exist."""
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
