"""Table of other projects' flags and settings with their counterparts in this package.

Users of Ultralytics, YOLOv5, torchvision, timm, detectron2 or MMDetection type what they know. A
word in the table is never accepted: the error names the flag to use instead, or explains in one
line what replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

Answer = str | Mapping[str, str]
"""A flag as it is typed (``--precision fp16``) or a sentence; or a mapping of patterns of the
word's value to such answers, in which the first matching pattern is used."""

NO_VALUE = ""
"""Value of a word that was given without one."""

FLAG = re.compile(r"--(no-)?([a-z][a-z-]*)(?: (\S+))?")
"""Pattern of an answer that is a flag, with or without a value; other answers are sentences."""

_OFF = ("false", "no", "off", "0")

_FILE_DECIDES = "the weights file determines it; detector export --precision fp16 halves the file"
_ONE_LOOK = "boxes are always drawn with name and score, or not at all: --no-draw"
_CLASSES = "classes and their names come from the data set, or are stored with the weights"


def _words(*tables: Mapping[str, Answer]) -> dict[str, Answer]:
    """Merge tables, and split keys of several words into one entry per word."""
    return {
        word: answer
        for table in tables
        for words, answer in table.items()
        for word in words.split()
    }


_LOG: dict[str, Answer] = {
    "verbose quiet profile log-level": "there is one log level; --json FILE writes all metrics",
}

_ANY_NETWORK: dict[str, Answer] = {
    "img img-size image-size input-size img-sz input-shape resolution": "--imgsz",
    **_LOG,
}

_ANY_DATA: dict[str, Answer] = {
    "data-path data-dir dataset dataset-dir dataset-path data-yaml": "--data",
    "root dataset-root": "--data-root",
    "nc num-classes class-names names": _CLASSES,
    "single-cls": "not supported; give all labels one class in the data set",
}

_SEVERAL: dict[str, Answer] = {
    "num-gpus gpus num-processes nproc-per-node launcher world-size dist-url local-rank "
    "num-machines machine-rank": "torchrun --nproc-per-node N -m detector {tool}, N processes",
}

_DEVICE: dict[str, Answer] = {
    "gpu gpu-id gpu-ids": "the first GPU is --device cuda:0",
    "cpu no-cuda": "--device cpu",
    "cuda use-cuda": "--device cuda",
}

_WEIGHTS: dict[str, Answer] = {"model checkpoint model-path weights-path ckpt": "--weights"}

_NMS: dict[str, Answer] = {
    "conf conf-thres conf-threshold confidence-threshold score-thr score-threshold "
    "pred-score-thr box-score-thresh": "--confidence",
    "iou-thres iou-threshold nms-thres nms-threshold nms-thr": "--iou",
    "max-det max-dets topk-all max-per-img": "--max-detections",
    "agnostic agnostic-nms class-agnostic-nms": "--class-agnostic",
}

_RUNNING: dict[str, Answer] = {
    "batch-size batchsize bs": "--batch",
    "half fp16": "--precision fp16",
    "bf16 amp": "--precision bf16",
    "int8": _FILE_DECIDES,
    "config config-file": "weights hold the model and its preprocessing: --weights FILE",
    "dnn": "give the .onnx file itself: --weights best.onnx",
    "augment": "--tta",
    "workers num-workers": "one thread loads images; --threads sets those of the network",
    "rect": "--letterbox rectangle",
    "slice-height slice-width slice-size": "--tiles",
    "overlap-height-ratio overlap-width-ratio": "--tile-overlap",
    "no-standard-prediction": "--no-tile-whole",
}

_TUNE: dict[str, Answer] = {
    "n-trials max-trials num-trials num-samples iterations evolve": "--trials",
    "resume-from auto-resume": "the command that started a study continues it",
    "search-space param-space": "--space",
    "study study-name": "--name",
    "storage": "a study's journal is in its folder: --project and --name",
    "n-jobs jobs parallel": "start the same command several times: processes share a study",
}

_TRAIN: dict[str, Answer] = {
    # Model, start weights, data
    "model arch": {
        "*.yaml": "--cfg",
        "*.yml": "--cfg",
        "*.pt": "--weights",
        "*.pth": "--weights",
        "*.safetensors": "--weights",
        "*": "a model file is --cfg, trained weights are --weights",
    },
    "pretrained": {
        "*.pt": "--weights",
        "*.pth": "--weights",
        "*": "weights are random unless given: --weights FILE or --backbone-weights FILE",
    },
    "load-from initial-checkpoint checkpoint finetune ckpt": "--weights",
    "weights-backbone": "--backbone-weights",
    "trainable-backbone-layers": "--freeze N keeps the first N rows fixed",
    "config config-file": "--cfg takes the model file and --preset the training settings",
    "hyp hyp-file": "--preset",
    "cfg-options opts": "each setting is a flag, see --help, or a key of a --preset file",
    "anchors noautoanchor autoanchor": "training keeps the anchors; detector anchors fits them",
    "fraction": "--limit N uses the first N images of a split",
    "image-weights": "--balance-classes repeats the images of rare classes",
    "split": "--train-split and --val-split",
    "cache-images": "--cache ram",
    "rect": "--imgsz HEIGHT,WIDTH; detector val --letterbox rectangle pads less",
    "quad": "all images of a batch have one size; --multi-scale varies it between batches",
    # Optimizer and schedule
    "lr lr0 base-lr solver.base-lr": "--learning-rate",
    "lrf": "--final-fraction",
    "wd": "--weight-decay",
    "norm-weight-decay bias-weight-decay": "norms and biases have no weight decay",
    "opt": "--optimizer",
    "adam adamw": "--optimizer adamw",
    "sgd": "--optimizer sgd",
    "cos-lr": "--schedule cosine",
    "linear-lr": "--schedule linear",
    "lr-scheduler sched scheduler": "--schedule",
    "lr-steps lr-step-size lr-gamma milestones": "there is no step schedule; see --schedule",
    "lr-warmup-epochs": "--warmup-epochs",
    "warmup-iters warmup-steps": "the warm-up is counted in epochs: --warmup-epochs",
    "warmup-momentum": "momentum is constant: --momentum",
    "warmup-bias-lr": "biases warm up like weights, from near 0 over --warmup-epochs",
    "batch-size batchsize bs train-batch-size solver.ims-per-batch": "--batch",
    "nbs": "--nominal-batch",
    "accumulate accumulation-steps grad-accum-steps": "it is --nominal-batch divided by --batch",
    "clip-grad clip-grad-norm max-grad-norm": "--clip-norm",
    "ema model-ema use-ema": "weights are always averaged; see --ema-decay and --ema-warmup",
    "model-ema-decay": "--ema-decay",
    # Length, validation, checkpoints
    "num-epochs max-epochs": "--epochs",
    "max-iter max-steps iterations solver.max-iter": "the length is counted in epochs: --epochs",
    "time": "hours there are minutes here, in place of --epochs: --minutes 60",
    "early-stopping early-stop": "--patience",
    "noval no-val no-validate": "the last epoch is always validated; see --val-interval",
    "eval-interval": "--val-interval",
    "eval-only test-only": "validation is a tool of its own: detector val --weights FILE",
    "conf conf-thres iou iou-thres max-det": "the model's NMS settings are used; see detector val",
    "save-json": "detector val --save-predictions FILE",
    "nosave save save-period": "the best and last checkpoint are kept; see --save-minutes",
    "resume-from auto-resume": "--resume",
    "start-epoch": "--resume continues at the epoch where the run stopped",
    "exist-ok": "a run is never overwritten: choose another --name, or --resume FOLDER",
    "work-dir output-dir output out save-dir": "--project",
    "experiment exp-name run-name": "--name",
    "plots": "--pictures",
    "noplots no-plots": "--no-pictures",
    "tensorboard tensorboard-dir tb": "--log tensorboard",
    "wandb log-wandb": "--log wandb",
    "mlflow": "--log mlflow",
    "report-to logger loggers": "--log tensorboard,wandb,mlflow",
    "entity upload-dataset bbox-interval": "nothing is uploaded unless WANDB_MODE is online: --log",
    "evolve": "the search for settings is a tool of its own: detector tune --space FILE",
    # Machine
    "num-workers dataloader-num-workers": "--workers",
    "half fp16": "--precision fp16",
    "bf16": "--precision bf16",
    "amp": {
        "false": "full precision is --precision fp32",
        "*": "mixed precision is used if the device gains from it: --precision auto",
    },
    "no-amp": "--precision fp32",
    "deterministic use-deterministic-algorithms": "runs with the same --seed are reproducible",
    "syncbn sync-batchnorm": "--sync-bn",
    # Losses
    "box giou": "--box-gain",
    "cls": "--class-gain",
    "obj": "--objectness-gain",
    "cls-pw obj-pw": "positive and negative examples have equal weights; omit it",
    "fl-gamma": "focal loss is --class-loss focal and --objectness-loss focal",
    "smoothing": "--label-smoothing",
    "anchor-t": "--anchor-ratio",
    "iou-t": "no loss has it; omit it, and see --anchor-ratio and --assigner",
    "dfl": "--dfl-gain",
    "pose kobj overlap-mask mask-ratio dropout": "no head has it; omit it",
    # Augmentation
    "close-mosaic": "--close-mixing",
    "paste-in use-copypaste": "--copy-paste",
    "mixup-alpha": "--mixup is the probability of a blend",
    "perspective cutmix cutout erasing auto-augment bgr": "not built in; see --albumentations",
    "hflip": "--fliplr",
    "vflip": "--flipud",
    "task": "the head in the model file decides the task; see --cfg",
}

_VAL: dict[str, Answer] = {
    "task": {
        "train": "--split train",
        "val": "--split val",
        "test": "--split test",
        "*": "the weights determine the task; --split selects the images",
    },
    "save-json": "--save-predictions",
    "save-txt save-hybrid save-conf": "detector detect --txt-scores writes boxes with scores",
    "plots": "curves are drawn by detector train --pictures",
    "project name exist-ok work-dir output": "no folder is written; --json FILE writes the metrics",
}

_DETECT: dict[str, Answer] = {
    "input image images img-path video video-input path": "--source",
    "webcam": "a camera is a source by its number: --source 0",
    "save": "--draw",
    "nosave no-save no-save-vis": "--no-draw",
    "save-txt": "--txt",
    "save-conf": "--txt-scores",
    "save-json": "--jsonl",
    "save-csv": "there is no CSV output; --jsonl writes one JSON line per image",
    "save-crop": "crops are available from Python: detections.crops(image)",
    "save-frames": "frames of a video are not written one by one; see --draw and --jsonl",
    "project name save-dir output-dir out-dir out": "--output",
    "exist-ok": "not needed: results of the same name in --output are replaced",
    "view-img": "--show",
    "line-width line-thickness hide-labels hide-conf show-labels show-conf show-boxes": _ONE_LOOK,
    "stream-buffer": "all frames of a stream are used in order; --latest drops those too many",
    "tracker": "--track",
    "persist": "detector detect --track follows each video from its first frame to its last",
    "visualize embed retina-masks": "not supported; omit it",
    "data": _CLASSES,
    "update": "weights are not rewritten; omit it",
    "task": "the weights determine the task; omit it",
    # As a second word, after the name of a task
    "train": "training is a tool of its own: detector train",
    "val": "validation is a tool of its own: detector val",
    "export": "exporting is a tool of its own: detector export",
    "predict": "omit it, the name of the tool suffices: detector detect",
}

_EXPORT: dict[str, Answer] = {
    "include": "--format",
    "opset-version": "--opset",
    "fp16 half amp": "--precision fp16",
    "int8": "--precision int8",
    "batch-size batchsize bs": "--batch",
    "dynamic-axes dynamic-batch dynamic-export": "--dynamic",
    "end2end": "--nms",
    "topk-per-class": "boxes are limited per image, not per class: --max-detections",
    "simplify": "not needed: convolutions are fused and constants folded before writing",
    "inplace optimize keras mlmodel workspace": "no --format has it; omit it",
    "device": "a file is written on the CPU and runs on any device; omit it",
    "output-file project name": "--output",
}

_INFO: dict[str, Answer] = {
    "model config config-file": "--cfg",
    "nc num-classes": "--classes",
}

_FITTING: dict[str, Answer] = {
    "model config config-file": "--cfg",
    "anchor-t": "--anchor-ratio",
    "n num-anchors": "the model file sets the number of anchors on each level: --cfg FILE",
}

WORDS: dict[str, dict[str, Answer]] = {
    "train": _words(_ANY_NETWORK, _ANY_DATA, _SEVERAL, _DEVICE, _TRAIN),
    "tune": _words(_ANY_NETWORK, _ANY_DATA, _DEVICE, _TRAIN, _TUNE),
    "val": _words(_ANY_NETWORK, _ANY_DATA, _SEVERAL, _DEVICE, _WEIGHTS, _NMS, _RUNNING, _VAL),
    "detect": _words(_ANY_NETWORK, _SEVERAL, _DEVICE, _WEIGHTS, _NMS, _RUNNING, _DETECT),
    "export": _words(_ANY_NETWORK, _ANY_DATA, _WEIGHTS, _NMS, _EXPORT),
    "analyse": _words(_ANY_NETWORK, _ANY_DATA, _DEVICE, _WEIGHTS, _NMS, _RUNNING),
    "compare": _words(_ANY_NETWORK, _ANY_DATA, _DEVICE, _NMS),
    "check": _words(_ANY_NETWORK, _ANY_DATA),
    "info": _words(_ANY_NETWORK, _INFO),
    "convert": _words(_LOG, _ANY_DATA),
    "anchors": _words(_ANY_NETWORK, _ANY_DATA, _FITTING),
}
"""Answers by tool and by word of other projects, in lower case and with dashes."""

COMMANDS: dict[str, str] = {
    **dict.fromkeys(("predict", "infer", "inference", "demo"), "detect"),
    **dict.fromkeys(("validate", "test", "eval", "evaluate"), "val"),
    **dict.fromkeys(("fit", "finetune"), "train"),
    **dict.fromkeys(("env", "collect-env"), "checks"),
    **dict.fromkeys(("doctor", "health", "health-check", "check-dataset", "check-data"), "check"),
    "autoanchor": "anchors",
    "summary": "info",
    "classify": "the weights determine the task: all tools handle classifiers, too",
    **dict.fromkeys(("segment", "pose", "obb"), "no head predicts masks, key points or angles"),
    "yolo": "the command is detector, then a tool: detector train",
    "track": "tracks are made by a flag: detector detect --track bytetrack",
    **dict.fromkeys(("evolve", "sweep", "hpo"), "tune"),
    "version": "it is a flag: detector --version",
    "help": "it is a flag: detector --help",
}
"""Subcommands of other projects → our subcommands, or a sentence."""


def flag_hint(tool: str, word: str, value: object = NO_VALUE) -> str:
    """Return a hint that ends the error about an unknown flag, or "" if the word is not known.

    Args:
        tool: a subcommand, such as ``train``.
        word: the flag, with or without its leading dashes, in any case, with ``_`` or ``-``.
        value: the value that was given with it.

    >>> flag_hint("train", "--lr0", "0.01")
    ': use --learning-rate'
    >>> flag_hint("train", "--zzz")
    ''
    """
    return _hint(find(tool, word, value), value, re.Match.group)


def key_hint(tool: str, key: str, value: object) -> str:
    """Return a hint that ends the error about an unknown key of a YAML file, or "".

    >>> key_hint("train", "half", True)
    ': use precision: fp16'
    """
    return _hint(find(tool, key, value), value, _as_key)


def find(tool: str, word: str, value: object = NO_VALUE) -> str:
    """Return the table's answer to a word of other projects, or ""."""
    answer = WORDS.get(tool, {}).get(word.lstrip("-").replace("_", "-").lower(), "")
    if isinstance(answer, str):
        return answer.replace("{tool}", tool)
    given = str(value).lower()
    return next(text for pattern, text in answer.items() if fnmatchcase(given, pattern))


def device_hint(name: str) -> str:
    """Return a hint that ends the error about an unknown device, or "".

    >>> device_hint("0")
    '; expected cuda:0'
    """
    if name.isdecimal():
        return f"; expected cuda:{name}"
    if re.fullmatch(r"\d+(,\d+)+", name):
        count = name.count(",") + 1
        return f"; a process uses one, start {count} with torchrun --nproc-per-node {count}"
    kind, colon, number = name.partition(":")
    return f"; expected cuda{colon}{number}" if kind.lower() == "gpu" else ""


def _hint(answer: str, value: object, spell: Callable[[re.Match[str]], str]) -> str:
    flag = FLAG.fullmatch(answer)
    if flag is None:
        return answer and f": {answer}"
    negated, _, fixed_value = flag.groups()
    switched_off = (negated or fixed_value) and str(value).lower() in _OFF
    return f": use {spell(flag)}" + (" if true" if switched_off else "")


def _as_key(flag: re.Match[str]) -> str:
    """Spell ``--precision fp16`` as ``precision: fp16``, ``--no-draw`` as ``draw: false``."""
    negated, name, value = flag.groups()
    value = "false" if negated else value
    return name.replace("-", "_") + (f": {value}" if value else "")
