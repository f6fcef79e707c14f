"""A study in a folder, which several processes share and no killed process harms.

Optuna's journal holds the proposals and the metrics. Who works on a trial is known by a lock that
the kernel releases when the process ends, however it ends: a trial that runs in the journal and
whose lock is free belongs to a process that was killed, and is continued by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from detector.engine.tuning.space import Space, propose
from detector.settings.tune import Value
from detector.utils.errors import DetectorError, one_line
from detector.utils.system import require

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

JOURNAL = "journal.log"
"""Name of Optuna's journal in a study's folder."""


@dataclass(frozen=True)
class Claim:
    """A trial that this process works on.

    Attributes:
        trial: Optuna's.
        values: of the settings that are searched.
        lock: held while the process works on the trial.
    """

    trial: optuna.Trial
    values: Mapping[str, Value]
    lock: FileLock

    @property
    def name(self) -> str:
        """Name of the trial's run."""
        return trial_name(self.trial.number)


def trial_name(number: int) -> str:
    """Return the name of a trial's run, and of its folder.

    >>> trial_name(7)
    'trial_7'
    """
    return f"trial_{number}"


class SharedStudy:
    """Gives trials to processes, each trial to one of them.

    Args:
        folder: of the study.
        space: settings with the values that each may take.
        seed: of the proposals; each follows from it, the trial's number and the trials before.
        total: number of trials, over all processes and restarts.
    """

    def __init__(self, folder: Path, space: Space, seed: int, total: int) -> None:
        self.folder = folder
        self.space = space
        self.seed = seed
        self.total = total
        self.study = _open_journal(folder)

    @property
    def lock(self) -> FileLock:
        """Lock that a process holds while it takes a trial or reports on all."""
        return FileLock(self.folder / ".study.lock")

    @property
    def trials(self) -> Sequence[optuna.trial.FrozenTrial]:
        """All trials so far, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def take(self) -> Claim | None:
        """Return a trial of a killed process, else a new one; None if all are taken."""
        with self.lock:
            return self._orphan() or self._new_trial()

    def _orphan(self) -> Claim | None:
        """Return the first running trial that no process works on."""
        for found in self.trials:
            if found.state.name != "RUNNING":
                continue
            lock = self._claimed(found.number)
            if lock is not None:
                logger.info(f"{trial_name(found.number)}: its process has ended, it is continued")
                return self._claim(found.number, lock, found)
        return None

    def _new_trial(self) -> Claim | None:
        number = len(self.trials)
        if number >= self.total:
            return None
        lock = self._claimed(number)
        assert lock is not None, "no other process knows of this trial"
        return self._claim(number, lock)

    def _claim(
        self, number: int, lock: FileLock, found: optuna.trial.FrozenTrial | None = None
    ) -> Claim:
        """Make a trial, or take over one that was found, with the values that are proposed."""
        import optuna

        seed = np.random.SeedSequence([self.seed, number]).generate_state(1)
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]))
        # Optuna has no public name for the number by which its storage knows a trial.
        trial = optuna.Trial(self.study, found._trial_id) if found else self.study.ask()
        return Claim(trial, propose(trial, self.space), lock)

    def _claimed(self, number: int) -> FileLock | None:
        """Return the held lock of a trial, or None if another process has it."""
        lock = FileLock(self.folder / f".{trial_name(number)}.tune.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def finish(self, claim: Claim, state: str, value: float | None = None) -> None:
        """Record the end of a trial: COMPLETE with its metric, PRUNED, or FAIL."""
        import optuna

        self.study.tell(claim.trial.number, value, optuna.trial.TrialState[state])
        claim.lock.release()


def _open_journal(folder: Path) -> optuna.Study:
    """Open the study in a folder's journal.

    Raises:
        DetectorError: optuna is not installed, or the journal is damaged.
    """
    require("optuna", "tune")
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class KernelLock(JournalFileOpenLock):
        """Lock that ends with its process; Optuna's own stays behind a killed one for 30 s."""

        def __init__(self) -> None:
            self.lock = FileLock(folder / ".journal.lock")

        def acquire(self) -> bool:
            self.lock.acquire()
            return True

        def release(self) -> None:
            self.lock.release()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, lock = folder / JOURNAL, KernelLock()
    with lock.lock:
        _cut_torn_line(path)
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path), lock_obj=lock)),
            study_name="study",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(),
        )
    except Exception as error:  # a damaged file fails in any way
        raise DetectorError(f"is no journal of a study: {one_line(error)}", file=path) from error


def _cut_torn_line(path: Path) -> None:
    """Remove the end of a line that a full disk or a power cut left in the journal, and say so."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            logger.warning(f"{path}: the last line is cut; what was not recorded is done again")
            file.truncate(end)
