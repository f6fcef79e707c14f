"""The training loop: fit → epoch → step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from detector.checkpoint import load_training_state, save_training_state, save_weights
from detector.data.dataset import DetectionDataset
from detector.engine.freeze import hold_frozen
from detector.engine.multi_scale import MultiScale
from detector.engine.optim import make_average, make_optimizer, make_scheduler
from detector.engine.plots import plot_results
from detector.engine.run import Record, Run
from detector.errors import DetectorError
from detector.evaluation.run import Figures, evaluate
from detector.graph import Detector
from detector.settings import TrainSettings, ValSettings
from detector.structures import Batch
from detector.tasks import task_of
from detector.torch_backend import TorchBackend

VALIDATION_BATCH: int = ValSettings.model_fields["batch"].default
"""Images per forward pass, as in ``tools/val.py``."""


@dataclass
class Progress:
    """How far a run is; kept in its checkpoint.

    ``best`` is the task's first figure in the best epoch.
    """

    epoch: int = 0
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    history: list[Record] = field(default_factory=list)


class Trainer:
    """Trains a model and keeps its run's folder.

    Args:
        settings: complete; see :func:`detector.engine.recipe.resolve`.
        model: on the CPU, with start weights and the preprocessing of its input size.
        train_set: images to train on; their classes are the model's.
        val_set: images that choose the best epoch.
        run: folder for everything that is written.
        accelerator: device, precision and processes.
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
        self.task = task_of(model)
        self.val_set = val_set
        self.evaluator = self.task.evaluator(
            val_set.ground_truth(), val_set.category_ids, [s.image_id for s in val_set.samples]
        )
        self.loader = self.task.loader(train_set, model.preprocess, settings)
        self.multi_scale = MultiScale(
            size_hw=model.preprocess.size_hw,
            stride=model.max_stride,
            fraction=0.0 if "multi_scale" in self.task.unused else settings.multi_scale,
            seed=settings.seed,
            until_epoch=settings.epochs - settings.close_mixing,
        )
        self.accumulate = max(round(settings.nominal_batch / settings.batch), 1)
        self.criterion = self.task.criterion(model, settings)
        self.average = make_average(model.to(accelerator.device), settings)
        optimizer = make_optimizer(model, settings)
        steps_per_epoch = math.ceil(len(self.loader) / self.accumulate)
        self.scheduler = make_scheduler(
            optimizer, settings, steps_per_epoch * settings.epochs, steps_per_epoch
        )
        self.raw_model = model
        self.model, self.optimizer = accelerator.prepare(
            model.to(memory_format=torch.channels_last), optimizer
        )
        self.progress = Progress()

    def fit(self) -> Progress:
        """Train to the last epoch, from wherever the run stands."""
        while self.progress.epoch < self.settings.epochs:
            start = time.perf_counter()
            record = self.train_epoch()
            self.progress.epoch += 1
            if self.validation_is_due():
                figures = self.validate()
                record |= figures.summary
                self.keep_if_best(figures)
            record["seconds"] = time.perf_counter() - start
            self.progress.seconds += record["seconds"]
            self.progress.history.append(record)
            self.save()
            tqdm.write(self.described(record))
        plot_results(self.progress.history, self.task.figures, self.run.plot)
        return self.progress

    def train_epoch(self) -> Record:
        """Show the model every training image once."""
        self.model.train()
        hold_frozen(self.raw_model)
        epoch = self.progress.epoch
        self.loader.batch_sampler.set_epoch(epoch)
        totals: dict[str, Tensor] = {}
        bar = tqdm(
            self.loader,
            desc=f"epoch {epoch + 1}/{self.settings.epochs}",
            unit="batch",
            leave=False,
            mininterval=0.5,
            disable=None if self.accelerator.is_main_process else True,  # None: off a terminal
        )
        for number, loaded in enumerate(bar):
            is_last = number + 1 == len(self.loader)
            batch = self.multi_scale(loaded.to(self.accelerator.device), epoch, number)
            losses = self.train_step(batch, update=is_last or (number + 1) % self.accumulate == 0)
            for name, value in losses.items():
                totals[name] = totals.get(name, torch.zeros_like(value)) + value
        record: Record = {"epoch": epoch + 1}
        record |= {name: float(total) / len(self.loader) for name, total in totals.items()}
        record["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        return record

    def train_step(self, batch: Batch, update: bool) -> dict[str, Tensor]:
        """Forward, loss and backward of a batch on the device; with ``update``, a step.

        Raises:
            DetectorError: the loss is not finite; the last checkpoint stays as it is.
        """
        images = normalise(batch.images, self.raw_model)
        with self.accelerator.autocast():
            maps = self.model(images)
        losses = self.criterion(maps, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            parts = ", ".join(f"{name} {float(part.detach())}" for name, part in losses.items())
            raise DetectorError(
                f"the loss is not finite in epoch {self.progress.epoch + 1}: {parts}; "
                f"a lower --learning-rate may help; the last checkpoint is {self.run.last}"
            )
        images_per_step = 1 if self.task.adds_up else self.accumulate * self.settings.batch
        self.accelerator.backward(total * (len(batch) / images_per_step))
        if update:
            self.update()
        return {name: value.detach() for name, value in losses.items()}

    def update(self) -> None:
        """One optimizer step with what has accumulated."""
        if self.accelerator.sync_gradients:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        self.average.update_parameters(self.raw_model)

    def validation_is_due(self) -> bool:
        """Every ``val_interval`` epochs, and after the last one."""
        epoch = self.progress.epoch
        return epoch % self.settings.val_interval == 0 or epoch == self.settings.epochs

    def validate(self) -> Figures:
        """Figures of the averaged weights, the way ``tools/val.py`` measures it."""
        backend = TorchBackend(self.averaged_model, self.accelerator.device)
        self.evaluator.reset()
        figures: Figures = evaluate(
            backend,
            self.val_set.samples,
            self.evaluator,
            backend.measuring,
            VALIDATION_BATCH,
            self.task.postprocess,
        )
        return figures

    @property
    def averaged_model(self) -> Detector:
        """What is validated and saved."""
        return cast(Detector, self.average.module)

    def keep_if_best(self, figures: Figures) -> None:
        """Write ``best`` where the task's first figure is higher than in any epoch before."""
        found = figures.summary[self.task.figures[0]]
        if found > self.progress.best:
            self.progress.best = found
            self.progress.best_epoch = self.progress.epoch
            self._save_weights(self.run.best, figures)

    def described(self, record: Record) -> str:
        """One line for a person who watches."""
        losses = [f"{k.removeprefix('loss_')} {v:.3f}" for k, v in record.items() if "loss" in k]
        line = f"epoch {self.progress.epoch}/{self.settings.epochs}: {', '.join(losses)}"
        main = self.task.figures[0]
        if main in record:
            line += f", {self.shown(record)}"
            line += f" (best {main} {self.progress.best:.4f} in epoch {self.progress.best_epoch})"
        return f"{line}, {record['seconds']:.0f} s"

    def shown(self, record: Record) -> str:
        """The task's figures in a validated epoch, for people."""
        return ", ".join(f"{name} {record[name]:.4f}" for name in self.task.figures)

    def save(self) -> None:
        """Write ``last`` and the state to go on from; each file appears whole or not at all."""
        self._save_weights(self.run.last, None)
        save_training_state(self.run.state, self.state_dict())
        self.run.write_results(self.progress.history)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "progress": dict(self.progress.__dict__),
            "model": self.raw_model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            "random": torch.get_rng_state(),
        }

    def resume(self) -> None:
        """Go on from the run's state."""
        state = load_training_state(self.run.state)
        try:
            self.progress = Progress(**state["progress"])
            self.raw_model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            torch.set_rng_state(state["random"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DetectorError(
                f"is not the state of this run: {reason}", file=self.run.state
            ) from error

    def _save_weights(self, path: Any, figures: Figures | None) -> None:
        training: dict[str, Any] = {"epoch": self.progress.epoch}
        if figures is not None:
            training["figures"] = figures.to_dict()
        save_weights(path, self.averaged_model, training=training)


def normalise(images: Tensor, model: Detector) -> Tensor:
    """(b, 3, h, w) uint8 → the network's input, channels-last, by the model's preprocessing."""
    mean = images.new_tensor(model.preprocess.mean_rgb, dtype=torch.float32).view(1, 3, 1, 1)
    scale = images.new_tensor(model.preprocess.scale_rgb, dtype=torch.float32).view(1, 3, 1, 1)
    planes = images.contiguous(memory_format=torch.channels_last).float()
    return planes.sub_(mean).div_(scale)
