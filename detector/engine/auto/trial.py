"""Trial steps on a copy of the network: time and peak memory of a batch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import psutil
import torch
from accelerate import Accelerator

from detector.data.cache import free_memory
from detector.data.dataset import DetectionDataset
from detector.engine.auto.batch import BatchChoice, Step, choose_batch
from detector.engine.isolation import random_state_restored
from detector.engine.multi_scale import resized
from detector.engine.optim import hold_frozen, make_average, make_optimizer, set_learning_rate
from detector.engine.single_values import TORCH_MESSAGE
from detector.engine.tasks import task_of
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.structures.samples import Batch
from detector.utils import system
from detector.utils.collectives import by_itself

MEMORY_SHARE = {"cuda": 0.8, "cpu": 0.5}
"""Share of the free memory that a step may take. On a GPU the rest is for fragments and for images
with more objects than in the trial; on a CPU decoded images, validation and other programs need
it, too."""

STEPS, SECONDS = 2, 0.3
"""Least number of steps of a batch, and their least time. The fastest one counts: the first
allocates memory and chooses kernels, and other programs take time, too."""

TOO_LITTLE = ("out of memory", "can't allocate memory", TORCH_MESSAGE)
"""Parts of torch's messages where a batch needs more memory, or a batch norm more values."""


class Trial:
    """Runs training steps on a copy of a network.

    Args:
        settings: of the training.
        model: a copy, prepared for training, at its input size; it is changed.
        dataset: images to train on.
        accelerator: device and precision.
    """

    def __init__(
        self,
        settings: TrainSettings,
        model: Detector,
        dataset: DetectionDataset,
        accelerator: Accelerator,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.accelerator = accelerator
        self.device = accelerator.device
        self.budget = memory_budget(self.device)
        self.task = task_of(type(model.head))
        self.before = int(psutil.Process().memory_info().rss)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.criterion = self.task.criterion(model.head, model.preprocess.size_hw, settings)
        self.optimizer = make_optimizer(model, settings)
        set_learning_rate(self.optimizer, 0.0)  # weights that stay finite take their usual time
        self.average = make_average(model, settings)

    def measure(self, images: int) -> Step | None:
        """Measure steps of a batch; None if it cannot be computed: for want of memory or values."""
        batch = self._batch(images)
        reset_peak(self.device)
        try:
            seconds: list[float] = []
            while len(seconds) < STEPS or sum(seconds) < SECONDS:
                seconds.append(self._step(batch))
        except (RuntimeError, ValueError) as error:
            if not any(words in str(error) for words in TOO_LITTLE):
                raise
            return None
        finally:
            self.optimizer.zero_grad()
        return Step(images, self._peak(), min(seconds))

    def _batch(self, images: int) -> Batch:
        """Return the first training examples, at the largest size that the training has."""
        values = {"batch": images * system.world_size(), "workers": 0, "cache": "none"}
        settings = self.settings.model_copy(update=values)
        batch: Batch = next(iter(self.task.loader(self.dataset, self.model.preprocess, settings)))
        batch = batch.to(self.device)
        growth = 1 + getattr(settings, "multi_scale", 0.0)
        stride = self.model.max_stride
        height, width = (
            round(side * growth / stride) * stride for side in self.model.preprocess.size_hw
        )
        return batch if growth == 1 else resized(batch, (height, width))

    def _step(self, batch: Batch) -> float:
        """Do a step, and return its seconds."""
        start = time.perf_counter()
        self.model.train()
        hold_frozen(self.model, self.settings.freeze)
        with self.accelerator.autocast():
            raw_outputs = self.model(self.model.normalize(batch.images))
        losses = self.criterion(raw_outputs, batch.targets)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.model)
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter() - start

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        on_windows = int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
        return max(system.peak_memory() - self.before, on_windows - self.before, 0)


def measure_batch(
    settings: TrainSettings,
    make_model: Callable[[], Detector],
    dataset: DetectionDataset,
    accelerator: Accelerator,
    sizes: Sequence[int],
) -> tuple[BatchChoice | None, int]:
    """Choose a batch by trial steps, whose memory is free afterwards; see :class:`Trial`.

    Args:
        settings: of the training.
        make_model: makes a copy of the network, prepared for training, at its input size.
        dataset: images to train on.
        accelerator: device and precision.
        sizes: batches of one process to try, in ascending order.

    Returns:
        The choice, None if not even one image fits; and the bytes that a step may take.
    """
    with random_state_restored(), by_itself():  # losses would ask the other processes
        trial = Trial(settings, make_model(), dataset, accelerator)
        found, budget = choose_batch(sizes, trial.measure, trial.budget), trial.budget
    del trial
    gc.collect()
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
    reset_peak(accelerator.device)  # else the progress line would show that of the trial
    return found, budget


def reset_peak(device: torch.device) -> None:
    """Let the peak memory begin at the present memory, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        system.reset_peak_memory()


def memory_budget(device: torch.device) -> int:
    """Return how many bytes the steps of one process may take."""
    if device.type == "cuda":
        return round(torch.cuda.mem_get_info(device)[0] * MEMORY_SHARE["cuda"])
    return round(free_memory() * MEMORY_SHARE["cpu"]) // system.local_world_size()
