"""timm's networks as backbones: names, levels, fused forms; no network is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from detector.layers.index import Index
from detector.layers.repvgg import randomise_batch_norms
from detector.layers.timm_backbone import TimmBackbone, describe
from detector.registry import contract

ROOT = Path(__file__).resolve().parents[2]


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def differences(expected: list[Tensor], found: list[Tensor]) -> list[float]:
    pairs = zip(expected, found, strict=True)
    return [float(((a - b).abs().max() / a.abs().max()).detach()) for a, b in pairs]


# --------------------------------------------------------------------------- channels and strides


@pytest.mark.parametrize(
    ("name", "out", "channels"),
    [  # published widths of each stage
        ("resnet18", ["P2", "P3", "P4", "P5"], (64, 128, 256, 512)),
        ("resnet18", ["P4"], (256,)),
        ("densenet121", ["P3", "P5"], (512, 1024)),
        ("mobilenetv4_conv_small", ["P3", "P4", "P5"], (64, 96, 960)),
        ("repvit_m0_9", ["P3", "P4", "P5"], (96, 192, 384)),
        ("convnext_atto.d2_in1k", ["P3", "P4", "P5"], (80, 160, 320)),
        ("vit_tiny_patch16_224", ["P4"], (192,)),
    ],
)
def test_levels(name: str, out: list[str], channels: tuple[int, ...], no_network: list[str]):
    found = describe(name, tuple(out))
    assert found.channels == channels
    assert found.strides == tuple(2 ** int(level[1:]) for level in out)
    declared = contract("TimmBackbone").outputs
    assert declared is not None
    pairs = list(zip(channels, found.strides, strict=True))
    assert list(declared({"model": name, "out": out})) == pairs


def test_of_equal_strides_the_last():
    """Three blocks of a ViT have stride 16; the last one is meant."""
    assert describe("vit_tiny_patch16_224", ("P4",)).indices == (11,)


def test_features_are_timm_s():
    torch.manual_seed(0)
    ours = TimmBackbone("resnet18", ["P3", "P5"]).eval()
    theirs = timm.create_model("resnet18", features_only=True, out_indices=(2, 4)).eval()
    theirs.load_state_dict(ours.net.state_dict())
    image = torch.rand(2, 3, 64, 96)
    found = ours(image)
    assert [tuple(feature.shape) for feature in found] == [(2, 128, 8, 12), (2, 512, 2, 3)]
    assert differences(theirs(image), found) == [0, 0]


def test_channels_last_are_permuted():
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", ["P3", "P5"], imgsz=64).eval()
    with torch.no_grad():
        found = backbone(torch.rand(1, 3, 64, 64))
    assert [tuple(feature.shape) for feature in found] == [(1, 192, 8, 8), (1, 768, 2, 2)]
    assert backbone.fixes_size


def test_index():
    features = [torch.zeros(1, 2, 3, 4), torch.ones(1, 2, 3, 4)]
    assert Index(1)(features) is features[1]


# ----------------------------------------------------------------------------------------- fusing


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("resnet18", 0),
        ("mobilenetv4_conv_small", 0),
        ("repvit_m0_9", 0),
        ("repvgg_a0", 0),
        ("efficientnet_b0", 0),  # its norms end in an activation
        ("tf_efficientnet_b0", 0),  # convolutions that pad as TensorFlow does
        ("convnext_atto", 0),  # layer norms only
        # Of 121 norms, 1 follows the first convolution and 58 the first one of each dense layer;
        # the norms before the layers and transitions read what is joined: 58 + 3, and the last one.
        ("densenet121", 62),
    ],
)
def test_fuses(name: str, kept: int):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, ["P4", "P5"], imgsz=64).double().eval()
    randomise_batch_norms(backbone)
    state = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    fused = backbone.fuse()
    assert norms(fused) == kept
    assert all(parameter.dtype == torch.float64 for parameter in fused.parameters())
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(state[key], t) for key, t in backbone.state_dict().items())
    image = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        assert max(differences(backbone(image), fused(image))) < 1e-12


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"model": "resnet81"},
            "argument 'model': unknown timm model 'resnet81'; did you mean 'resnet18'?",
        ),
        (
            {"model": "zzz"},
            "argument 'model': unknown timm model 'zzz'; timm.list_models() lists the names",
        ),
        (
            {"model": "resnet18.a1_in2k"},
            "argument 'model': resnet18 has no weights 'a1_in2k'; did you mean 'a1_in1k'?",
        ),
        *(
            (
                {"model": name},
                f"argument 'model': expected a name of timm.list_models(), found {name!r}; "
                "models of a hub or a folder are not built",
            )
            for name in ("hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp", "../resnet18")
        ),
        ({"out": ["P7"]}, "argument 'out': resnet18 has no P7, expected P1, P2, P3, P4, P5"),
        ({"out": ["p3"]}, "argument 'out': expected levels such as P3, found 'p3'"),
        (
            {"out": ["P4", "P3"]},
            "argument 'out': expected rising levels such as P3, found ['P4', 'P3']",
        ),
        (
            {"out": ["P4", "P4"]},
            "argument 'out': expected rising levels such as P3, found ['P4', 'P4']",
        ),
        ({"out": []}, "argument 'out': expected rising levels such as P3, found []"),
        ({"c_in": 8}, "reads the image, found 'from' with 8 channels"),
        (
            {"model": "vgg11", "drop_path_rate": 0.1},
            "argument 'drop_path_rate': vgg11 has no such setting",
        ),
    ],
)
def test_errors(arguments: dict[str, Any], message: str, no_network: list[str]):
    with pytest.raises(ValueError) as caught:
        TimmBackbone(**{"model": "resnet18", "out": ["P3", "P4"], **arguments})
    assert str(caught.value) == message


def test_a_size_that_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch):
    """A network of one size that takes no ``img_size``, as some of timm's."""
    create = timm.create_model

    def without_img_size(name: str, **options: Any) -> nn.Module:
        if "img_size" in options:
            raise TypeError("Swin.__init__() got an unexpected keyword argument 'img_size'")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_img_size)
    with pytest.raises(ValueError) as caught:
        TimmBackbone("swin_tiny_patch4_window7_224", ["P5"], imgsz=64)
    assert str(caught.value) == (
        "swin_tiny_patch4_window7_224 takes images of 224×224 only, expected imgsz: 224, found 64"
    )


def test_random_weights_only(monkeypatch: pytest.MonkeyPatch, no_network: list[str]):
    asked: list[Any] = []
    create = timm.create_model

    def watched(name: str, **options: Any) -> nn.Module:
        asked.append(options["pretrained"])
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", watched)
    TimmBackbone("resnet18", ["P3"])
    assert asked
    assert not any(asked)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_imported_only_for_such_a_row():
    found = run_python(
        "import sys\n"
        "from detector.model.detector import build\n"
        "build('yolov5n')\n"
        "print('timm' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    assert found == "False False"


def test_usage_reports_are_off():
    found = run_python(
        "from detector.layers.timm_backbone import import_timm\n"
        "import_timm()\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    assert found == "True"


def test_without_timm():
    found = run_python(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'timm':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from detector import DetectorError, build\n"
        "try:\n"
        "    build('yolov5_timm')\n"
        "except DetectorError as error:\n"
        "    print(error.message)"
    )
    assert found == ('row 0 (TimmBackbone): timm is not installed; run: pip install "repdet[timm]"')
