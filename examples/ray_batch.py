"""Detect in millions of images with Ray Data: a folder, Parquet files or tars in, Parquet out.

Needs ``pip install "repdet[runtime]" "ray[data]>=2.60,<2.64"``; 2.64 drops ``max_task_retries``.
Started again, it continues. A file that cannot be read is a row with an error. RAY_ADDRESS names a
cluster, whose machines see the same folders; without it Ray runs on this machine alone.
"""

import argparse
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import: Ray reports its use otherwise
if "RAY_ADDRESS" not in os.environ:  # loopback only, and no question to the cloud what it is
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "http_proxy": "http://127.0.0.1:9"}
import ray

from detector import DetectorError, Predictor
from detector.runtime.bulk import images_of, list_files, rows_of
from detector.runtime.bulk_results import open_results, to_table

FILES, ROWS = 64, 1000  # files of a task, rows of a written file
RETRIES = 3  # of a task whose worker was lost: an image that ends its worker does not do so forever


class Detect:
    """Worker, which opens the network once."""

    def __init__(self, weights: str, options: dict[str, Any], written: list[Any]) -> None:
        self.predictor, self.written = Predictor(weights, **options), ray.get(written[0])

    def __call__(self, batch: dict[str, Any], columns: list[str]) -> Iterator[Any]:
        """Yield tables of rows for a batch of files."""
        images = images_of(map(os.fsdecode, batch["item"]), self.written, *columns)
        rows = rows_of(images, self.predictor.frames)
        while part := list(islice(rows, ROWS)):
            yield to_table(part, self.predictor.backend.task)


def main(flags: argparse.Namespace) -> None:
    """Give the files that have no row yet to the workers."""
    options = {"confidence": flags.confidence, "threads": flags.threads}
    Predictor(flags.weights, **options)  # an error is one line here, and not within Ray
    settings = {"confidence": flags.confidence, "columns": flags.columns}
    written = open_results(Path(flags.output), Path(flags.weights), settings)
    files = [os.fsencode(file) for file in list_files(flags.source) if file not in written]
    print(f"{len(files)} files to read, {len(written)} images written before", flush=True)
    if not files:
        return
    ray.init(include_dashboard=False)
    blocks = min(len(files), max(len(files) // FILES, 16 * flags.workers))
    ray.data.from_items(files, override_num_blocks=blocks).map_batches(
        Detect,
        compute=ray.data.ActorPoolStrategy(size=flags.workers),
        fn_constructor_args=(flags.weights, options, [ray.put(written)]),
        fn_kwargs={"columns": flags.columns.split(",", 1)},
        num_cpus=flags.threads,
        max_task_retries=RETRIES,
    ).write_parquet(flags.output, min_rows_per_file=ROWS, ray_remote_args={"num_cpus": 0})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("weights", "source", "output"):
        parser.add_argument(name, type=os.path.abspath)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of a worker")
    parser.add_argument("--confidence", type=float, default=0.25)
    parser.add_argument("--columns", default="bytes", help="of Parquet files: IMAGE or IMAGE,NAME")
    try:
        main(parser.parse_args())
    except DetectorError as error:
        parser.error(str(error))  # exit code 2
