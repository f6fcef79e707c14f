"""The training loop: fit → epoch → step."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import set_seed

from detector.data.dataset import DetectionDataset
from detector.data.fingerprint import check_unchanged, fingerprint
from detector.data.loader import ExampleKey, default_workers
from detector.engine.accumulation import Accumulation, NotFiniteError
from detector.engine.callbacks import Callback, Callbacks, Epoch, Results, Start, Step, Terminal
from detector.engine.distillation import make_distillation
from detector.engine.final_size import final_size
from detector.engine.last_epochs import LastEpochs
from detector.engine.optim import hold_frozen
from detector.engine.run import Run, provenance, settings_digest
from detector.engine.single_values import TORCH_MESSAGE, explain_single_values
from detector.engine.state import Progress, TrainingState
from detector.engine.stopping import StopRequest
from detector.engine.tasks import task_of
from detector.evaluation.run import Metrics, by_library, evaluate
from detector.model.detector import Detector
from detector.model.torch_backend import TorchBackend
from detector.settings.evaluate import ValSettings
from detector.settings.train import TrainSettings
from detector.structures.samples import Batch
from detector.utils import system
from detector.utils.collectives import copy_from_main, is_distributed
from detector.utils.errors import DetectorError, Interrupted, first_names, nearest, one_line

logger = logging.getLogger(__name__)

VALIDATION_BATCH: int = ValSettings.model_fields["batch"].default
"""Images per forward pass, as in ``tools/val.py``."""

MAX_SKIPPED_IN_A_ROW = 10
"""Number of consecutive non-finite steps after which a run that skips them stops."""

MAX_NAMED_IMAGES = 64
"""Largest number of image files that an error names."""

LOST = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "NCCL")
"""Parts of torch's messages when another process does not answer."""

StepKeys = Sequence[Sequence[ExampleKey]]
"""Keys of the examples of each batch of an optimizer step, over all processes."""


class Trainer:
    """Trains a model and writes its run's folder.

    Among several processes each one has the same weights and a share of each batch; the main one
    writes.

    Args:
        settings: complete; see :func:`detector.engine.recipe.resolve`.
        model: on the CPU, with start weights and the preprocessing of its input size.
        train_set: images to train on; their classes are the model's.
        val_set: images that choose the best epoch.
        run: folder for everything that is written.
        accelerator: device, precision and processes.

    Attributes:
        callbacks: who is told of the events, in this order; add to them before :meth:`fit`.

    Raises:
        DetectorError: ``monitor`` names no metric of the task.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Detector,
        train_set: DetectionDataset,
        val_set: DetectionDataset,
        run: Run,
        accelerator: Accelerator,
    ) -> None:
        self.settings = settings
        self.run = run
        self.accelerator = accelerator
        self.task = task_of(type(model.head))
        self.datasets = (train_set, val_set)
        self.evaluator = by_library(self.task.evaluator, settings.evaluator)(
            val_set.ground_truth(), val_set.category_ids, [s.image_id for s in val_set.samples]
        )
        self.monitor = settings.monitor or self.task.metrics[0]
        check_metric(self.monitor, self.evaluator.metrics)
        workers = settings.workers
        if workers is None:
            workers = default_workers(accelerator.device)
        self.loader = self.task.loader(
            train_set, model.preprocess, settings.model_copy(update={"workers": workers})
        )
        self.resize = final_size(model, settings) or self.task.resize(model, settings)
        self.accumulate = max(round(settings.nominal_batch / settings.batch), 1)
        self.steps_per_epoch = math.ceil(len(self.loader) / self.accumulate)
        criterion = self.task.criterion(model.head, model.preprocess.size_hw, settings)
        self.distillation = make_distillation(settings, model, self.task, criterion)
        if self.distillation is not None:
            self.distillation.to(accelerator.device)
        self.last_epochs: LastEpochs | None = None
        if settings.average_last:
            first = settings.epochs - settings.average_last + 1
            self.last_epochs = LastEpochs(model, accelerator.device, first, settings.freeze)
        helpers = None if self.distillation is None else self.distillation.features
        self.state = TrainingState(settings, model, self.steps_per_epoch, accelerator, helpers)
        images_per_step = 1 if self.task.adds_up else self.accumulate * settings.batch
        self.stop = StopRequest()
        self.accumulation = Accumulation(
            self.state,
            criterion,
            accelerator,
            images_per_step,
            settings.clip_norm,
            self.stop,
            distillation=self.distillation,
        )
        self.fingerprints = {dataset.split: fingerprint(dataset) for dataset in self.datasets}
        self.provenance = provenance(settings, self.fingerprints)
        self.callbacks: list[Callback] = [Results(run), Terminal()]
        self.saved_at = time.monotonic()

    @property
    def notes(self) -> list[str]:
        """Lines to say before the first step."""
        return [] if self.distillation is None else [self.distillation.description]

    @property
    def progress(self) -> Progress:
        """Progress of the run."""
        return self.state.progress

    # --------------------------------------------------------------------------------- the loop

    def fit(self) -> Progress:
        """Train to the last epoch, starting where the run stands.

        Raises:
            DetectorError: a number is not finite, a file cannot be written, a process was lost.
            Interrupted: Ctrl-C or SIGTERM; the message says how to resume.
        """
        self.run.write_provenance(self.provenance)
        with closing(Callbacks(self.callbacks if system.is_main() else ())) as tell:
            return self.tell_all(tell)

    def tell_all(self, tell: Callback) -> Progress:
        """Train as :meth:`fit` does, and tell a callback of the events."""
        tell.on_start(self.start())
        try:
            with self.stop:
                while not self.is_finished():
                    for step in self.train_epoch():
                        tell.on_step(step)
                        self.save_if_due()
                    tell.on_epoch(self.end_epoch())
                self.measure_average()
        except (Interrupted, RuntimeError, ValueError) as error:
            self.explain(error)
            raise
        tell.on_end(self.progress.history)
        return self.progress

    def is_finished(self) -> bool:
        """Return whether the last epoch is done, or ``patience`` epochs brought no better one."""
        epoch, patience = self.progress.epoch, self.settings.patience
        waited = epoch - self.progress.best_epoch
        in_vain = patience is not None and waited >= patience and self.is_validated(epoch)
        return epoch >= self.settings.epochs or in_vain

    def train_epoch(self) -> Iterator[Step]:
        """Train on every image once, or on the rest of the epoch; yield each step."""
        self.state.model.train()
        hold_frozen(self.state.raw_model, self.settings.freeze)
        sampler = self.loader.batch_sampler
        sampler.set_epoch(self.progress.epoch, self.progress.batch)
        keys, batches = sampler.batches(), iter(self.loader)
        while self.progress.batch < len(keys):
            done = self.progress.batch
            yield self.train_step(batches, keys[done : done + self.accumulate])

    def train_step(self, batches: Iterator[Batch], keys: StepKeys) -> Step:
        """Do one optimizer step, completely or not at all: gradients, then the update.

        Args:
            batches: this process's shares of them, and of what follows.
            keys: what the step is computed from.
        """
        start, learning_rate = time.perf_counter(), self.state.learning_rate
        seed_step(self.settings.seed, self.progress.step)
        losses = self.gradients(self.scaled(islice(batches, len(keys))), keys)
        if losses and not self.state.update():
            losses = {}
        if losses and not self.state.is_finite():
            raise self.not_finite("the step leaves weights that are not finite", keys)
        self.state.advance(losses, len(keys))
        self.progress.epoch_seconds += time.perf_counter() - start
        if self.progress.skipped_in_a_row > MAX_SKIPPED_IN_A_ROW:
            raise self.not_finite(f"{MAX_SKIPPED_IN_A_ROW + 1} steps in a row are not finite", keys)
        return Step(
            number=self.progress.step,
            epoch=self.progress.epoch + 1,
            batches=self.progress.batch,
            keys=[key for batch in keys for key in batch],
            losses={name: value / len(keys) for name, value in losses.items()},
            learning_rate=learning_rate,
        )

    def scaled(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the next batches of the epoch on the device, each at its training size."""
        for number, batch in enumerate(batches, self.progress.batch):
            yield self.resize(batch.to(self.accelerator.device), self.progress.epoch, number)

    def gradients(self, batches: Iterator[Batch], keys: StepKeys) -> dict[str, float]:
        """Run forward and backward on a step's batches; after an error the model is as before.

        Returns:
            The sums of their losses; nothing if a number is not finite and the step is skipped.
        """
        buffers = self.state.buffers()
        try:
            return self.accumulation(batches, [len(batch) for batch in keys])
        except NotFiniteError as error:
            self.state.undo(buffers)
            if not self.settings.skip_nonfinite:
                self.save_in_need()
                raise self.not_finite(str(error), keys) from None
            deque(batches, maxlen=0)
            return {}
        except BaseException:
            self.state.undo(buffers)
            self.save_in_need()
            raise

    def end_epoch(self) -> Epoch:
        """Validate, save, and return the event of the epoch."""
        start, progress = time.perf_counter(), self.progress
        try:
            with self.stop.at_once():
                due = self.is_validated(progress.epoch + 1)
                metrics = self.validate() if due else None
        except BaseException:
            self.save_in_need()
            raise
        progress.epoch_seconds += time.perf_counter() - start
        summary = {} if metrics is None else metrics.summary
        record = progress.finish_epoch(self.state.schedule(progress.step - 1), summary)
        if self.last_epochs is not None:
            self.last_epochs.add(self.state.raw_model, progress.epoch)
        self.save_weights(metrics)
        self.save()
        results = [] if metrics is None else self.evaluator.results
        return Epoch(record, progress.history, progress.best, progress.best_epoch, results)

    # ------------------------------------------------------------------------------- validation

    def is_validated(self, epoch: int) -> bool:
        """Return whether an epoch is validated: every ``val_interval``-th, and the last one."""
        return epoch % self.settings.val_interval == 0 or epoch == self.settings.epochs

    def validate(self, model: Detector | None = None) -> Metrics:
        """Measure a network, the averaged one by default, the way ``tools/val.py`` does.

        Raises:
            DetectorError: the images have no truth for the metric that chooses the best epoch.
        """
        model = model or self.state.averaged_model
        copy_from_main(model.buffers())  # batch norm's are averages of each process's own
        backend = TorchBackend(model, self.accelerator.device)
        self.evaluator.reset()
        metrics: Metrics = evaluate(
            backend,
            self.datasets[1].samples,
            self.evaluator,
            backend.eval_nms,
            VALIDATION_BATCH,
            tiling=self.settings,
        )
        if metrics.summary[self.monitor] < 0:  # with nothing found it is 0, without truth −1
            split = self.datasets[1].split
            raise DetectorError(
                f"--monitor {self.monitor}: split {split!r} has nothing to measure it on"
            )
        return metrics

    # ------------------------------------------------------------------------------ checkpoints

    def save_weights(self, metrics: Metrics | None) -> None:
        """Write ``last``, and ``best`` if its metric is higher than in any epoch before.

        Or where all have been 0: of networks that find nothing yet, the one trained longest.
        """
        progress, model = self.progress, self.state.averaged_model
        training: dict[str, Any] = {"epoch": progress.epoch, **self.provenance}
        if metrics is not None:
            metric = metrics.summary[self.monitor]
            if metric > progress.best or metric == progress.best == 0:
                progress.best, progress.best_epoch = metric, progress.epoch
                progress.averaged = {}
                record = training | {"metrics": metrics.to_dict()}
                self.run.save_weights(self.run.best, model, record)
        self.run.save_weights(self.run.last, model, training)

    def measure_average(self) -> None:
        """Measure and write the average of the last epochs; it becomes ``best`` if it is better."""
        progress, last = self.progress, self.last_epochs
        if last is None or progress.average_epoch == progress.epoch:
            return
        line = f"average of {last.count} last epochs: "
        if not last.count:
            logger.info(f"{line}the training has stopped before them")
            return
        with self.stop.at_once():
            model = last.finished(self.datasets[0])
            metrics = self.validate(model)
        metric, best = metrics.summary[self.monitor], f"{progress.best:.4f}"
        record = {"epoch": progress.epoch, "averaged_epochs": last.count, **self.provenance}
        record["metrics"] = metrics.to_dict()
        self.run.save_weights(self.run.averaged, model, record)
        line += f"{self.monitor} {metric:.4f}, "
        if metric > progress.best:
            logger.info(f"{line}better than {best} of epoch {progress.best_epoch}: it is the best")
            progress.best, progress.best_epoch = metric, progress.epoch
            progress.averaged = metrics.summary
            self.run.save_weights(self.run.best, model, record)
        else:
            logger.info(f"{line}not better than {best} of epoch {progress.best_epoch}")
        progress.average_epoch = progress.epoch
        self.save()

    def save_if_due(self) -> None:
        """Save between two steps when asked to stop, and every ``save_minutes``.

        Raises:
            Interrupted: when asked to stop.
        """
        if self.accumulation.stop_is_agreed if is_distributed() else self.stop.is_asked:
            self.save()
            self.accelerator.wait_for_everyone()
            raise self.stop.interruption()
        if time.monotonic() - self.saved_at >= 60 * self.settings.save_minutes:
            self.save()

    def save_in_need(self) -> None:
        """Save the state of the last step, if it is finite, before an error leaves the loop."""
        with suppress(DetectorError):  # the error on the way matters more
            if self.state.is_finite():
                self.save()

    def save(self) -> None:
        """Write the training state."""
        kept = {
            "data": self.fingerprints,
            "commands": self.provenance["commands"],
            "settings": settings_digest(self.settings),
        }
        if self.distillation is not None:
            kept["distillation"] = self.distillation.state_dict()
        if self.last_epochs is not None:
            kept["last_epochs"] = self.last_epochs.state_dict()
        self.run.save_state({**self.state.state_dict(), **kept})
        self.saved_at = time.monotonic()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Resume from a saved state of the run.

        Raises:
            DetectorError: it is no such state, or the images have changed since.
        """
        try:
            # States of earlier versions have no digest.
            if state.get("settings", settings_digest(self.settings)) != settings_digest(
                self.settings
            ):
                raise DetectorError(
                    f"is the state of another run than {self.run.settings.name} beside it: their "
                    "settings differ",
                    file=self.run.resumed_from,
                )
            for dataset in self.datasets:
                check_unchanged(state["data"][dataset.split], dataset)
            if self.distillation is not None:
                self.distillation.load_state_dict(state["distillation"])
            self.state.load_state_dict(state)
            if self.last_epochs is not None:
                self.last_epochs.load_state_dict(state["last_epochs"])
            self.provenance["commands"][:0] = [str(command) for command in state["commands"]]
        except DetectorError:
            raise
        except Exception as error:  # a state that was made by hand may fail in any way
            message = f"is not a state of this run: {one_line(error)}"
            raise DetectorError(message, file=self.run.resumed_from) from error

    # ----------------------------------------------------------------------------- what is told

    def start(self) -> Start:
        """Return the event that callbacks receive first."""
        return Start(
            folder=self.run.folder,
            settings=self.settings,
            train_set=self.loader.dataset,
            val_set=self.datasets[1],
            metrics=self.task.metrics,
            images=self.loader.batch_sampler.length,
            monitor=self.monitor,
            step=self.progress.step,
            history=tuple(self.progress.history),
        )

    def not_finite(self, issue: str, keys: StepKeys) -> DetectorError:
        """Return an error that names the images of a step."""
        examples = [key for batch in keys for key in batch]
        sources = [path for key in examples for path in self.loader.dataset.sources(key)]
        paths = [str(path) for path in dict.fromkeys(sources)]
        return DetectorError(
            f"{issue}, in epoch {self.progress.epoch + 1}; a lower --learning-rate may help, "
            f"--skip-nonfinite skips such steps; {self.run.resume_hint()}; "
            f"images of the step: {first_names(paths, MAX_NAMED_IMAGES)}"
        )

    def explain(self, error: BaseException) -> None:
        """Re-raise known low-level failures with a message for the user."""
        if is_distributed() and any(words in str(error) for words in LOST):
            # Asked to stop or not: the launcher's signal to those that are left may come first.
            lost = f"another process of this run was lost ({one_line(error)})"
            raise DetectorError(f"{lost}; {self.run.resume_hint()}") from error
        if str(error).startswith(TORCH_MESSAGE):
            images = len(self.datasets[0])
            message = explain_single_values(self.state.raw_model, images)
            raise DetectorError(message) from error
        if self.stop.is_asked:  # a signal to all processes ends the loader's workers, too
            raise self.stop.interruption(f"stopped; {self.run.resume_hint()}") from None


def seed_step(seed: int, step: int) -> None:
    """Seed all generators of this process for an optimizer step.

    What a step draws follows from its number alone, as what an example draws follows from its key:
    a resumed run needs no generator's state.
    """
    sequence = np.random.SeedSequence([seed, step, system.rank()])
    set_seed(int(sequence.generate_state(1)[0]))


def check_metric(name: str, known: Sequence[str]) -> None:
    """Raise DetectorError unless the name is one of the evaluator's metrics."""
    if name not in known:
        hint = nearest(name, known) or f"; expected one of {', '.join(known)}"
        raise DetectorError(f"--monitor {name}: no such metric{hint}")
