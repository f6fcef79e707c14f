"""A long training needs no more memory than a short one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.engine.head_settings import train_settings
from detector.engine.setup import prepare

EPOCHS, SETTLED = 200, 10


def processes(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes(int(child))


def memory_bytes() -> int:
    """Of this process and its children; pages that several share count once in all."""
    total = 0
    for pid in processes(os.getpid()):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_flat_after_the_tenth_epoch(
    tiny_cfg: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = prepare(
        train_settings(
            cfg=str(tiny_cfg),
            data=str(tiny_data),
            project=tmp_path,
            epochs=EPOCHS,
            batch=4,
            workers=2,
            mixup=0.5,
            copy_paste=0.5,
            multi_scale=0.5,
            val_interval=5,
            device="cpu",
        )
    )
    save, measured = trainer.save, []

    def measured_save() -> None:
        save()
        measured.append(memory_bytes())

    monkeypatch.setattr(trainer, "save", measured_save)
    trainer.fit()
    assert len(measured) == EPOCHS
    settled, most = measured[SETTLED - 1], max(measured[SETTLED:])
    print(f"{settled / 1e6:.1f} MB after epoch {SETTLED}, at most {most / 1e6:.1f} MB later")
    assert most <= 1.05 * settled
