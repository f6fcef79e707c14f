"""Energy that the processor has used, where the machine counts it (RAPL, by Linux' powercap)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
PACKAGES = "intel-rapl:[0-9]*"
"""Folders of processor packages; those of their parts have a second colon. AMD's are alike."""


class EnergyMeter:
    """Energy of all processor packages between two moments.

    Args:
        folder: folder of the counters.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self.packages = [one for one in sorted(folder.glob(PACKAGES)) if one.name.count(":") == 1]
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._before = [_read(package / "energy_uj") for package in self.packages]

    def joules(self) -> float | None:
        """Return the energy since the start; None where none is counted, or it may not be read."""
        total = 0
        for package, before in zip(self.packages, self._before, strict=True):
            after = _read(package / "energy_uj")
            if before is None or after is None:
                return None
            if after < before:  # the counter has begun again
                after += _read(package / "max_energy_range_uj") or 0
            total += after - before
        return total / 1e6 if self.packages else None


def _read(file: Path) -> int | None:
    """Return a counter in microjoules, None if it cannot be read: often only root may."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
