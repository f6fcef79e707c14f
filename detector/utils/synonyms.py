"""Table of other projects' words and what stands for them here, for flags and presets.

People who come from Ultralytics, YOLOv5, torchvision, timm, detectron2 or MMDetection type what
they know. A word of the table is never acted on: the error names what to write instead, or says in
one line what there is in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

Answer = str | Mapping[str, str]
"""Flags of the tool as one types them (``--precision fp16``), or a sentence; or one of these by
pattern of the word's value, of which the first that fits counts."""

NO_VALUE = ""
"""The value of a word that was given none."""

FLAG = re.compile(r"--(no-)?([a-z][a-z-]*)(?: (\S+))?")
"""An answer that is a flag, with a value or without; every other answer is a sentence."""

_OFF = ("false", "no", "off", "0")

_FILE_DECIDES = "the weights file decides: detector export --precision fp16 halves it"
_ONE_LOOK = "boxes are drawn in one way, with name and score, or not at all: --no-draw"
_CLASSES = "classes and their names come from the data set, or are stored with the weights"


def _words(*tables: Mapping[str, Answer]) -> dict[str, Answer]:
    """Join tables; words that share an answer stand together, separated by spaces."""
    return {
        word: answer
        for table in tables
        for words, answer in table.items()
        for word in words.split()
    }


_ANY_TOOL: dict[str, Answer] = {
    "img img-size image-size input-size img-sz input-shape resolution": "--imgsz",
    "verbose quiet profile log-level": "output has one level; --json FILE takes all of it",
}

_ANY_DATA: dict[str, Answer] = {
    "data-path data-dir dataset dataset-dir dataset-path data-yaml": "--data",
    "root dataset-root": "--data-root",
    "nc num-classes class-names names": _CLASSES,
    "single-cls": "not here; give all labels one class in the data set",
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
    "half fp16 bf16 int8 precision amp": _FILE_DECIDES,
    "config config-file": "weights hold the model and its preprocessing: --weights FILE",
    "dnn": "give the .onnx file itself: --weights best.onnx",
    "augment tta": "an image is predicted once; there is no test-time augmentation",
    "workers num-workers": "a thread loads images; --threads counts those of the network",
    "rect": "--letterbox rectangle",
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
    "trainable-backbone-layers": "--freeze counts the first rows that stay as they are",
    "config config-file": "--cfg takes the model file and --preset the settings of training",
    "hyp hyp-file": "--preset",
    "cfg-options opts": "each setting has a flag of its own, see --help, or stands in a --preset",
    "anchors noautoanchor autoanchor": "training changes no anchors; detector anchors fits them",
    "fraction": "--limit counts images, the first ones of a split",
    "image-weights": "--balance-classes repeats the images of rare classes",
    "split": "--train-split and --val-split",
    "cache-images": "--cache ram",
    "rect": "training inputs are square; detector val --letterbox rectangle pads less",
    "quad": "images of a batch have one size; --multi-scale changes it from batch to batch",
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
    "lr-steps lr-step-size lr-gamma milestones": "the rate does not fall in steps; see --schedule",
    "lr-warmup-epochs": "--warmup-epochs",
    "warmup-iters warmup-steps": "the warm-up is counted in epochs: --warmup-epochs",
    "warmup-momentum": "momentum is the same from the first step: --momentum",
    "warmup-bias-lr": "biases warm up as weights do, from near 0 over --warmup-epochs",
    "batch-size batchsize bs train-batch-size solver.ims-per-batch": "--batch",
    "nbs": "--nominal-batch",
    "accumulate accumulation-steps grad-accum-steps": "it follows from --nominal-batch and --batch",
    "clip-grad clip-grad-norm max-grad-norm": "--clip-norm",
    "ema model-ema use-ema": "weights are always averaged; see --ema-decay and --ema-warmup",
    "model-ema-decay": "--ema-decay",
    # Length, validation, checkpoints
    "num-epochs max-epochs": "--epochs",
    "max-iter max-steps iterations solver.max-iter": "the length is counted in passes: --epochs",
    "time": "a run ends after --epochs or --patience; killed, it goes on with --resume",
    "early-stopping early-stop": "--patience",
    "noval no-val no-validate": "the last epoch is always validated; see --val-interval",
    "eval-interval": "--val-interval",
    "eval-only test-only": "measuring is a tool of its own: detector val --weights FILE",
    "conf conf-thres iou iou-thres max-det": "the model's are used; see detector val",
    "save-json": "detector val --save-predictions FILE",
    "nosave save save-period": "the best and the last are kept; see --save-minutes",
    "resume-from auto-resume": "--resume",
    "start-epoch": "--resume knows the epoch at which a run goes on",
    "exist-ok": "a run is never written over: choose another --name, or --resume FOLDER",
    "work-dir output-dir output out save-dir": "--project",
    "experiment exp-name run-name": "--name",
    "plots": "--pictures",
    "noplots no-plots": "--no-pictures",
    "entity wandb log-wandb upload-dataset bbox-interval": "nothing is sent; see --tensorboard",
    "evolve tune": "settings are not searched here; each --preset is a run, compare their metrics",
    # Machine
    "num-workers dataloader-num-workers": "--workers",
    "half fp16": "--precision fp16",
    "bf16": "--precision bf16",
    "amp": {
        "false": "full precision is --precision fp32",
        "*": "mixed precision is used where the device gains from it: --precision auto",
    },
    "no-amp": "--precision fp32",
    "deterministic use-deterministic-algorithms": "a --seed repeats a run already",
    "syncbn sync-batchnorm": "--sync-bn",
    # Losses
    "box giou": "--box-gain",
    "cls": "--class-gain",
    "obj": "--objectness-gain",
    "cls-pw obj-pw": "positive examples weigh as much as others; leave it out",
    "fl-gamma": "focal loss is --class-loss focal and --objectness-loss focal",
    "smoothing": "--label-smoothing",
    "anchor-t": "--anchor-ratio",
    "iou-t": "no loss here has it, leave it out; see --anchor-ratio and --assigner",
    "dfl": "no head here has a distribution focal loss; leave it out",
    "pose kobj overlap-mask mask-ratio dropout": "no head here has it; leave it out",
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
        "*": "the weights decide the task; --split names what is measured",
    },
    "save-json": "--save-predictions",
    "save-txt save-hybrid save-conf": "detector detect --txt writes boxes with scores",
    "plots": "curves are drawn by detector train --pictures",
    "project name exist-ok work-dir output": "no folder is written; --json FILE takes the metrics",
}

_DETECT: dict[str, Answer] = {
    "input image images img-path video video-input path": "--source",
    "webcam": "a camera is a source by its number: --source 0",
    "save": "--draw",
    "nosave no-save no-save-vis": "--no-draw",
    "save-txt": "--txt",
    "save-conf": "each line of the files that --txt writes ends with the score",
    "save-json": "--jsonl",
    "save-csv": "not as CSV: --jsonl writes one JSON line an image",
    "save-crop": "crops come from Python: detections.crops(image)",
    "save-frames": "frames of a video are not written one by one; see --draw and --jsonl",
    "project name save-dir output-dir out-dir out": "--output",
    "exist-ok": "not needed: results of the same name in --output are replaced",
    "view-img show": "no window is opened; drawn pictures are written to the folder of --output",
    "line-width line-thickness hide-labels hide-conf show-labels show-conf show-boxes": _ONE_LOOK,
    "vid-stride": "every frame is used; from Python, Predictor.frames takes any of them",
    "stream-buffer": "frames of a stream are used in their order, none is dropped",
    "tracker track persist": "objects are not followed from frame to frame yet",
    "visualize embed retina-masks": "there is nothing of the kind here; leave it out",
    "data": _CLASSES,
    "update": "weights are not rewritten; leave it out",
    "task": "the weights decide the task; leave it out",
    # As a second word, after the name of a task
    "train": "training is a tool of its own: detector train",
    "val": "measuring is a tool of its own: detector val",
    "export": "exporting is a tool of its own: detector export",
    "predict": "leave it out, the tool's name is enough: detector detect",
}

_EXPORT: dict[str, Answer] = {
    "include": "--format",
    "opset-version": "--opset",
    "fp16 half amp": "--precision fp16",
    "int8 per-tensor": "files have weights of 32 bits, or of 16 with --precision fp16",
    "batch-size batchsize bs": "a file takes one image at a time, or any number with --dynamic",
    "dynamic-axes dynamic-batch dynamic-export": "--dynamic",
    "end2end": "--nms",
    "topk-per-class": "boxes are limited for an image, not for a class: --max-detections",
    "simplify": "not needed: convolutions are fused and constants folded before writing",
    "inplace optimize keras mlmodel workspace": "no --format here has it; leave it out",
    "device": "a file is written on the CPU and runs on any device; leave it out",
    "output-file project name": "--output",
}

_INFO: dict[str, Answer] = {
    "model config config-file": "--cfg",
    "weights": "info reads model files: --cfg FILE",
    "nc num-classes": "--classes",
}

_FITTING: dict[str, Answer] = {
    "model config config-file": "--cfg",
    "anchor-t": "--anchor-ratio",
    "n num-anchors": "the model file says how many anchors on how many levels: --cfg FILE",
}

WORDS: dict[str, dict[str, Answer]] = {
    "train": _words(_ANY_TOOL, _ANY_DATA, _SEVERAL, _DEVICE, _TRAIN),
    "val": _words(_ANY_TOOL, _ANY_DATA, _SEVERAL, _DEVICE, _WEIGHTS, _NMS, _RUNNING, _VAL),
    "detect": _words(_ANY_TOOL, _SEVERAL, _DEVICE, _WEIGHTS, _NMS, _RUNNING, _DETECT),
    "export": _words(_ANY_TOOL, _ANY_DATA, _WEIGHTS, _NMS, _EXPORT),
    "info": _words(_ANY_TOOL, _INFO),
    "anchors": _words(_ANY_TOOL, _ANY_DATA, _FITTING),
}
"""By tool: a word of other projects, in lower case and with dashes → what stands for it."""

COMMANDS: dict[str, str] = {
    **dict.fromkeys(("predict", "infer", "inference", "demo"), "detect"),
    **dict.fromkeys(("validate", "test", "eval", "evaluate"), "val"),
    **dict.fromkeys(("fit", "finetune"), "train"),
    **dict.fromkeys(("env", "collect-env"), "checks"),
    "autoanchor": "anchors",
    "convert": "export",
    "summary": "info",
    "classify": "the weights decide: classifiers go through train, val, detect and export too",
    **dict.fromkeys(("segment", "pose", "obb"), "no head here finds masks, key points or angles"),
    "yolo": "the command is detector, then a tool: detector train",
    "track": "objects are not followed from frame to frame yet",
    "tune": "settings are not searched here; train takes them as flags or as a --preset",
    "version": "it is a flag: detector --version",
    "help": "it is a flag: detector --help",
}
"""A subcommand of other projects → ours, or a sentence."""


def flag_hint(tool: str, word: str, value: object = NO_VALUE) -> str:
    """Return how an error about an unknown flag goes on, or nothing if the word is not known.

    Args:
        tool: a subcommand, such as ``train``.
        word: with or without its dashes, in any case, with ``_`` or ``-``.
        value: what was given with it.

    >>> flag_hint("train", "--lr0", "0.01")
    ': here it is --learning-rate'
    >>> flag_hint("train", "--zzz")
    ''
    """
    return _hint(find(tool, word, value), value, re.Match.group)


def key_hint(tool: str, key: str, value: object) -> str:
    """Return how an error about an unknown key of a YAML file goes on, as :func:`flag_hint`.

    >>> key_hint("train", "half", True)
    ': here it is precision: fp16'
    """
    return _hint(find(tool, key, value), value, _as_key)


def find(tool: str, word: str, value: object = NO_VALUE) -> str:
    """Return the table's answer to a word of other projects, or nothing."""
    answer = WORDS.get(tool, {}).get(word.lstrip("-").replace("_", "-").lower(), "")
    if isinstance(answer, str):
        return answer.replace("{tool}", tool)
    given = str(value).lower()
    return next(text for pattern, text in answer.items() if fnmatchcase(given, pattern))


def device_hint(name: str) -> str:
    """Return how an error about an unknown device goes on, or nothing if nothing is known.

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
    return f": here it is {spell(flag)}" + (" where that is true" if switched_off else "")


def _as_key(flag: re.Match[str]) -> str:
    """Spell ``--precision fp16`` as ``precision: fp16``, ``--no-draw`` as ``draw: false``."""
    negated, name, value = flag.groups()
    value = "false" if negated else value
    return name.replace("-", "_") + (f": {value}" if value else "")
