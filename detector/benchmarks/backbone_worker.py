"""Worker process of ``benchmark backbones --compare``: one form of one network at one batch size.

The first line of stdin is the configuration as JSON. The worker answers it, after a first forward
pass, and each further line, after another one, by one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

import torch

from detector.benchmarks.energy import EnergyMeter
from detector.benchmarks.timing import forward, sized_model
from detector.model.deploy import fuse_modules
from detector.settings.values import Count, ImageSize
from detector.utils.system import peak_memory, reset_peak_memory
from detector.utils.yaml_file import Strict


class Configuration(Strict):
    """Configuration that one process measures."""

    cfg: str
    variant: str | None
    deployed: bool
    batch: Count
    imgsz: ImageSize
    threads: Count
    bf16: bool


def main() -> None:
    """Measure and answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that output of libraries does not mix with the answers
    asked = Configuration.model_validate_json(sys.stdin.readline())
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    model = sized_model(asked.cfg, asked.variant, asked.imgsz).eval()
    network = fuse_modules(model) if asked.deployed else model
    network = network.to(memory_format=torch.channels_last)
    images = torch.rand(asked.batch, 3, *model.preprocess.size_hw)
    run = forward(network, images.contiguous(memory_format=torch.channels_last))
    reset_peak_memory()
    resident, meter = peak_memory(), EnergyMeter()
    while True:
        meter.start()
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=asked.bf16):
            run()
        answer = {
            "seconds": time.perf_counter() - started,
            "joules": meter.joules(),
            "peak_bytes": peak_memory() - resident,
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    main()
