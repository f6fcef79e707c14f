"""The row contract: parameters of constructors, and declarations of registered modules."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pytest
import torch
from torch import nn

import detector.model.builder  # noqa: F401  (registers what model files may name)
from detector import registry
from detector.registry import (
    MAX_ARGUMENT,
    Count,
    RowContract,
    Size,
    Width,
    contract,
    register,
    registered,
)
from detector.utils.errors import DetectorError

if TYPE_CHECKING:
    from nowhere import OnlyForCheckers  # type: ignore[import-not-found]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the modules that a test registers after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


class Block(nn.Module):
    def __init__(
        self,
        c_in: int,
        c_out: Width,
        kernel: Count = 1,
        repeats: int = 1,
        padding: Size | None = None,
        rate: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.5,
        mode: Literal["a", "b"] = "a",
        sizes: list[int] | int = 1,
        flag: bool = False,
        anything: Any = None,
        untyped=None,  # type: ignore[no-untyped-def]
    ) -> None:
        super().__init__()


def contract_of(module: type[nn.Module], **values: Any) -> RowContract:
    register("TestBlock", **values)(module)
    return contract("TestBlock")


# ------------------------------------------------------------------------------------ arguments


def test_what_the_builder_fills_in_is_no_argument() -> None:
    known = contract_of(Block)
    assert "c_in" not in known.row_parameters
    assert "repeats" not in known.row_parameters
    assert known.takes("c_in")
    assert known.takes("repeats")
    assert not known.takes("strides")
    assert known.widths == ("c_out",)
    assert not known.reads_list


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([8], {"c_out": 8}),
        ([8, 3], {"c_out": 8, "kernel": 3}),
        ([8, 3, None, 1], {"c_out": 8, "kernel": 3, "padding": None, "rate": 1.0}),
        ({"c_out": 8, "mode": "b"}, {"c_out": 8, "mode": "b"}),
        ({"c_out": 8, "sizes": [1, 2], "anything": {"x": [1]}, "untyped": "y"},
         {"c_out": 8, "sizes": [1, 2], "anything": {"x": [1]}, "untyped": "y"}),
    ],
)  # fmt: skip
def test_bind(args: Any, expected: dict[str, Any]) -> None:
    assert contract_of(Block).bind(args) == expected


def test_an_activation_may_stand_last_whatever_is_left_out() -> None:
    """YOLOv7's Conv, which has no dilation, is written [32, 3, 2, None, 1, nn.LeakyReLU(0.1)]."""
    leaky = "nn.LeakyReLU(0.1)"
    known = contract("Conv")
    assert known.bind([32, leaky]) == {"c_out": 32, "activation": leaky}
    assert known.bind([32, 3, 2, None, 1, leaky])["activation"] == leaky
    assert "dilation" not in known.bind([32, 3, 2, None, 1, leaky])
    assert known.bind([32, 3, 2, None, 1, 1, leaky])["activation"] == leaky
    with pytest.raises(ValueError, match="^argument 'dilation': .* found 'LeakyReLU'$"):
        known.bind([32, 3, 2, None, 1, "LeakyReLU"])


USAGE = "expected [c_out, kernel, padding, rate, mode, sizes, flag, anything, untyped]"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], f"argument 'c_out' is missing; {USAGE}"),
        ({"kernel": 3}, f"argument 'c_out' is missing; {USAGE}"),
        ([1] * 10, f"takes at most 9 arguments, found 10; {USAGE}"),
        ({"c_out": 1, "kernell": 3}, "unknown argument 'kernell'; did you mean 'kernel'?"),
        ({"c_in": 1}, f"unknown argument 'c_in'; {USAGE}"),
        ({3: 1}, f"unknown argument 3; {USAGE}"),
        ([0], "argument 'c_out': expected a whole number of at least 1, found 0"),
        (["8"], "argument 'c_out': expected a whole number of at least 1, found '8'"),
        ([8.0], "argument 'c_out': expected a whole number of at least 1, found 8.0"),
        ([True], "argument 'c_out': expected a whole number of at least 1, found True"),
        ([MAX_ARGUMENT + 1],
         "argument 'c_out': expected a whole number of at least 1, found 2147483648"),
        ([8, 1, -1], "argument 'padding': expected a whole number of at least 0 or None, found -1"),
        ([8, 1, 0, 2], "argument 'rate': expected a number above 0 of at most 1, found 2"),
        ([8, 1, 0, float("nan")],
         "argument 'rate': expected a number above 0 of at most 1, found nan"),
        ([8, 1, 0, 1, "c"], "argument 'mode': expected 'a' or 'b', found 'c'"),
        ([8, 1, 0, 1, "a", ["x"]],
         "argument 'sizes': expected a list of whole numbers or a whole number, found ['x']"),
        ([8, 1, 0, 1, "a", 1, 1], "argument 'flag': expected True or False, found 1"),
    ],
)  # fmt: skip
def test_bind_refuses(args: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        contract_of(Block).bind(args)
    assert str(caught.value) == message


ODD = (
    "ACBlock",
    "AlphaRepVGGBlock",
    "CrossConv",
    "DBB",
    "MobileOneBlock",
    "QARepVGGBlock",
    "RepConv",
    "RepVGGBlock",
    "SP",
    "SPPF",
    "SimCSPSPPF",
    "SimSPPF",
)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kernel", [4, 0, -1, True, 3.0])
def test_kernels_with_a_centre(name: str, kernel: object) -> None:
    args: dict[str, Any] = {} if name == "SP" else {"c_out": 8}
    assert contract(name).bind({**args, "kernel": 5})["kernel"] == 5
    with pytest.raises(ValueError) as caught:
        contract(name).bind({**args, "kernel": kernel})
    assert str(caught.value) == f"argument 'kernel': expected an odd number, found {kernel}"


def test_constructors_of_others() -> None:
    """Annotations that cannot be resolved or checked do not disable the checks of others."""

    class Unresolvable(nn.Module):
        def __init__(self, c_in: int, other: OnlyForCheckers, c_out: Width = 1) -> None:
            super().__init__()

    class Takes(nn.Module):
        def __init__(self, shape: torch.Size | None = None) -> None:
            super().__init__()

    class Anything(nn.Module):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()

    assert contract_of(Unresolvable).bind(["x", 8]) == {"other": "x", "c_out": 8}
    assert contract_of(Unresolvable).widths == ("c_out",)
    with pytest.raises(ValueError, match="^argument 'c_out': expected a whole number of at"):
        contract_of(Unresolvable).bind(["x", "y"])
    register("Takes")(Takes)
    with pytest.raises(ValueError, match="^argument 'shape': expected Size or None, found 3$"):
        contract("Takes").bind([3])
    register("Anything")(Anything)
    assert contract("Anything").bind([]) == {}
    with pytest.raises(ValueError, match=r"^takes at most 0 arguments, found 1; expected \[\]$"):
        contract("Anything").bind([3])


# -------------------------------------------------------------------------------------- registry


def test_registering_twice() -> None:
    register("Mine")(Block)
    register("Mine")(Block)  # importing a module again is fine
    with pytest.raises(DetectorError) as caught:
        register("Conv")(Block)
    assert str(caught.value) == (
        f"module name 'Conv' is registered twice: by detector.layers.conv and {__name__}"
    )


def test_a_class_defined_again_takes_the_older_one_s_place() -> None:
    """A notebook cell that runs twice defines the class again."""

    def cell() -> type[nn.Module]:
        @register()
        class Cell(Block):
            pass

        return Cell

    first, second = cell(), cell()
    assert first is not second
    assert contract("Cell").module is second


def test_unknown_name() -> None:
    with pytest.raises(DetectorError, match=r"^unknown module 'Cnov'; did you mean 'Conv'\?$"):
        contract("Cnov")
    with pytest.raises(DetectorError, match=r"^unknown module 'Zzzz'; known modules: ACBlock, "):
        contract("Zzzz")
    with pytest.raises(DetectorError) as caught:
        contract("a\n" * 1000)
    assert len(str(caught.value).splitlines()) == 1


# ------------------------------------------------------------------------- what modules declare

ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "AvgPool2d": [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}],
    "DenseLayer": [{"growth": 8}, {"growth": 8, "bottleneck": 12}],
    "NormAct": [{}, {"activation": "SiLU"}],
    "PeleeStem": [{"c_out": 16}],
    "PreActConv": [{"c_out": 24}, {"c_out": 8, "kernel": 3, "stride": 2}],
    "TwoWayDenseLayer": [{"growth": 8, "bottleneck": 12}],
    "AlphaRepVGGBlock": [
        {"c_out": 16},
        {"c_out": 24, "kernel": 5, "stride": 2, "groups": 2, "alpha": False},
    ],
    "BepC3": [{"c_out": 16}, {"c_out": 24, "expansion": 0.25}],
    "BiFusion": [{"c_out": 16}],
    "CSPPANStage": [{"c_out": 16}, {"c_out": 24, "spp": True, "alpha": True}],
    "CSPResStage": [{"c_out": 16}, {"c_out": 24, "alpha": False}],
    "RepBlock": [{"c_out": 16}, {"c_out": 24}],
    "SimCSPSPPF": [{"c_out": 16}, {"c_out": 24, "kernel": 3, "expansion": 0.25}],
    "SimSPPF": [{"c_out": 24}, {"c_out": 24, "kernel": 3}],
    **dict.fromkeys(
        ("ACBlock", "ACNetBlock", "DBB", "DiverseBranchBlock"),
        [{"c_out": 16}, {"c_out": 24, "kernel": 5, "stride": 2, "groups": 2}, {"c_out": 8}],
    ),
    **dict.fromkeys(("AConv", "ADown"), [{"c_out": 24}]),
    **dict.fromkeys(
        ("ELAN", "ELAN1"), [{"c_out": 24, "part": 8}, {"c_out": 24, "part": 8, "process": 12}]
    ),
    "RepNCSP": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "groups": 2}],
    **dict.fromkeys(
        ("RepNCSPELAN", "RepNCSPELAN4"),
        [{"c_out": 24, "part": 8}, {"c_out": 24, "part": 8, "process": 4, "bottlenecks": 2}],
    ),
    "SeparableConv": [{"c_out": 24}, {"c_out": 16, "kernel": 5, "stride": 2}],
    "SPPELAN": [{"c_out": 24}, {"c_out": 24, "hidden": 4}],
    "Silence": [{}],
    "Bottleneck": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "groups": 2}],
    "BottleneckCSP": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "groups": 2}],
    "C2": [{"c_out": 16}, {"c_out": 24, "groups": 2}],
    "C2PSA": [{"c_out": 16}, {"c_out": 16, "expansion": 1.0}],
    "C2f": [{"c_out": 16}, {"c_out": 24, "shortcut": True, "expansion": 0.25}],
    "C3k": [{"c_out": 16}, {"c_out": 24, "kernel": 5}],
    "C3k2": [{"c_out": 16}, {"c_out": 24, "c3k": True, "expansion": 0.25}],
    "C3": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "expansion": 0.25}],
    "C3Ghost": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "expansion": 1.0}],
    "C3SPP": [{"c_out": 16}, {"c_out": 24, "kernels": [3, 5]}],
    "C3STR": [{"c_out": 64}, {"c_out": 48, "shortcut": False, "expansion": 1.0}],
    "C3TR": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "expansion": 1.0}],
    "C3x": [{"c_out": 16}, {"c_out": 24, "shortcut": False, "groups": 2}],
    "CBAM": [{}, {"channels": 16, "kernel": 3, "ratio": 4}],
    **dict.fromkeys(("CoordAtt", "CoordAttention"), [{}, {"channels": 16, "ratio": 2}]),
    **dict.fromkeys(("ECA", "ECAAttention"), [{}, {"channels": 16, "kernel": 5}]),
    **dict.fromkeys(("SE", "SEAttention"), [{}, {"channels": 16, "ratio": 4}]),
    **dict.fromkeys(("SimAM", "SimAm"), [{}, {"regularization": 0.1}]),
    "GSConv": [{"c_out": 16}, {"c_out": 24, "kernel": 3, "stride": 2, "groups": 2}],
    "VoVGSCSP": [{"c_out": 16}, {"c_out": 24, "shortcut": False}],
    "Concat": [{}, {"dim": 1}],
    "Conv": [
        {"c_out": 24},
        {"c_out": 24, "kernel": 3, "stride": 2},
        {"c_out": 8, "kernel": 6, "stride": 2, "padding": 2},
        {"c_out": 8, "kernel": 3, "dilation": 2, "groups": 4},
        {"c_out": 8, "kernel": 3, "stride": 4, "activation": "nn.LeakyReLU(0.1)"},
    ],
    "Contract": [{}, {"gain": 3}],
    "CrossConv": [{"c_out": 16}, {"c_out": 24, "kernel": 5, "stride": 2, "shortcut": True}],
    "DWConv": [{"c_out": 16, "kernel": 3}, {"c_out": 24, "kernel": 3, "stride": 2, "dilation": 2}],
    "ESEBlock": [{}],
    "Expand": [{}, {"gain": 4}],
    "Focus": [{"c_out": 24, "kernel": 3}, {"c_out": 24, "kernel": 3, "stride": 2, "groups": 2}],
    "GhostBottleneck": [{"c_out": 16}, {"c_out": 24, "kernel": 5, "stride": 2}],
    "GhostConv": [{"c_out": 16}, {"c_out": 24, "kernel": 3, "stride": 2, "groups": 2}],
    "MP": [{}, {"kernel": 3}],
    "MobileOneBlock": [
        {"c_out": 16},
        {"c_out": 16, "stride": 2, "groups": 16, "branches": 3, "use_se": True},
        {"c_out": 24, "kernel": 1, "branches": 2},
    ],
    "MobileOneStage": [{"c_out": 24}, {"c_out": 24, "stride": 1, "branches": 2, "attentive": 1}],
    "MaxPool2d": [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}],
    "MixConv2d": [{"c_out": 16}, {"c_out": 24, "kernels": [3, 5, 7], "stride": 2}],
    "OSA": [
        {"c_out": 24, "width": 8},
        {"c_out": 24, "width": 8, "convs": 3, "ese": True, "bottleneck": 4},
    ],
    **dict.fromkeys(
        ("_OSA_module", "OSA_module", "OSAModule"),
        [{"stage_ch": 8, "c_out": 24}, {"stage_ch": 8, "c_out": 16, "layer_per_block": 3}],
    ),
    "RepConv": [{"c_out": 16}, {"c_out": 24, "stride": 2, "padding": 1, "groups": 2}],
    "RepVGGBlock": [
        {"c_out": 16},
        {"c_out": 24, "stride": 2, "groups": 2},
        {"c_out": 16, "dilation": 2, "use_se": True},
        {"c_out": 16, "kernel": 5, "deploy": True},
        {"c_out": 16, "use_se": True, "se_ratio": 4, "se_last": True},
        {"c_out": 16, "pointwise": False, "identity": False},
        {"c_out": 16, "stride": 2, "padding_mode": "same"},
    ],
    "RepVGGStage": [{"c_out": 16}, {"c_out": 24, "stride": 1, "groups": 2, "first": 1}],
    "QARepVGGBlock": [{"c_out": 16}, {"c_out": 24, "kernel": 5, "stride": 2, "groups": 2}],
    "ConvAct": [{"c_out": 16}, {"c_out": 24, "kernel": 3, "stride": 2, "dilation": 2}],
    "ConvNormAct": [{"c_out": 16}, {"c_out": 24, "kernel": 3, "groups": 2}],
    "L2Norm": [{}, {"scale": 5.0}],
    "SEBlock": [{}, {"ratio": 4}],
    "DownC": [{"c_out": 24}, {"c_out": 24, "stride": 3}],
    "ReOrg": [{}],
    "Shortcut": [{}, {"dim": 1}],
    "SP": [{}, {"kernel": 5, "stride": 2}],
    "SPP": [{"c_out": 24}, {"c_out": 24, "kernels": [3, 5]}],
    "SPPCSPC": [{"c_out": 24}, {"c_out": 24, "kernels": [3]}],
    "SPPF": [{"c_out": 24}, {"c_out": 24, "kernel": 3}],
    "Upsample": [
        {"scale_factor": 2},
        {"scale_factor": 1.5, "mode": "bilinear"},
        {"scale_factor": 0.5},
    ],
    "eSE": [{}],
    "eSEModule": [{}],
    "nn.AvgPool2d": [{"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}],
    "nn.BatchNorm2d": [{}, {"num_features": 16}],
    "nn.Conv2d": [{"c_out": 24, "kernel_size": 3, "padding": 1}, {"c_out": 16, "kernel_size": 1}],
    "SliceSum": [{"starts": [8]}],
    "nn.ConvTranspose2d": [
        {"c_out": 24, "kernel_size": 2, "stride": 2},
        {
            "c_out": 24,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
            "output_padding": 1,
            "groups": 8,
        },
    ],
    "nn.Identity": [{}],
    "nn.MaxPool2d": [{"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2}],
    "nn.Upsample": [{"size": None, "scale_factor": 2, "mode": "nearest"}],
    "nn.ZeroPad2d": [{"padding": 0}, {"padding": [0, 0, 0, 0]}],
}
"""Arguments of rows for every registered module that is not a head."""


def test_the_table_has_every_module() -> None:
    ours = {
        name
        for name, known in registered().items()
        if known.module.__module__.startswith(("detector.", "torch.")) and not known.head
    }
    several = {name for name in ours if contract(name).outputs or contract(name).picks}
    assert several == {"TimmBackbone", "Index"}  # see tests/layers/test_timm_backbone.py
    assert ours - several == set(ARGUMENTS)


def shapes_for(known: RowContract, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return shapes of features that a module may read; those of scale 1 have the given size."""
    if known.joined_strides:
        return [(2, 16, int(height / scale), int(width / scale)) for scale in known.joined_strides]
    second = (16,) if known.name == "Shortcut" else (8,)  # it adds
    return [(2, c, height, width) for c in (16, *(second if known.joins else ()))]


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize(
    ("name", "args"), [(name, args) for name, rows in ARGUMENTS.items() for args in rows]
)
def test_declared_channels_and_stride(name: str, args: dict[str, Any], repeats: int) -> None:
    known = contract(name)
    arguments = known.bind(args)
    filled = dict(arguments)
    shapes = shapes_for(known, 48, 24)
    channels = [shape[1] for shape in shapes]
    if known.takes("c_in"):
        filled["c_in"] = channels if known.joins else channels[0]
    if known.takes("repeats"):
        filled["repeats"] = repeats
    features = [torch.rand(shape) for shape in shapes]
    out = known.module(**filled)(features if known.joins else features[0])
    stride = Fraction(known.stride(arguments))
    assert out.shape == (2, known.channels(arguments, channels), 48 / stride, 24 / stride)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    known = contract(name)
    filled = known.bind(ARGUMENTS[name][0])
    shapes = shapes_for(known, 8, 8)
    if known.takes("c_in"):
        filled["c_in"] = [shape[1] for shape in shapes] if known.joins else 16
    torch.manual_seed(1)  # a single ReLU, as in SEBlock, may be born dead
    module = known.module(**filled)
    x, *others = (torch.rand(shape) for shape in shapes)
    x.requires_grad_()
    out = module([x, *others] if known.joins else x)
    (out * torch.rand_like(out)).sum().backward()
    assert x.grad is not None
    missing = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
