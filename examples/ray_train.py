"""Train on the machines of a Ray cluster: Ray Train starts the processes, as torchrun would.

    pip install "repdet[train]" "ray[train]>=2.60,<3"
    python examples/ray_train.py --processes 2 --cfg yolov5_repvgg --data path/to/folder --batch 32

The flags after --processes and --gpu are those of `detector train`. All machines share the folders
of the data and of the run. Without RAY_ADDRESS Ray runs on this machine alone, on loopback, and
says now and then that it cannot query its dashboard, which is off.
"""

import argparse
import os
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import: Ray reports its use otherwise
if "RAY_ADDRESS" not in os.environ:  # loopback only, and no question to the cloud what it is
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "http_proxy": "http://127.0.0.1:9"}
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(config: dict[str, Any]) -> None:
    """Train in one of the processes; rank and size of the group are in the environment."""
    from detector.cli import run_tool

    os.chdir(config["folder"])
    if code := run_tool("train", config["flags"]):
        raise SystemExit(f"detector train ended with exit code {code}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="one GPU for each")
    own, flags = parser.parse_known_args()
    ray.init(include_dashboard=False)
    TorchTrainer(
        train,
        train_loop_config={"folder": os.getcwd(), "flags": flags},
        scaling_config=ScalingConfig(num_workers=own.processes, use_gpu=own.gpu),
        run_config=RunConfig(storage_path=os.path.abspath("runs/ray")),
    ).fit()
