"""YOLOv5 checkpoints: weights and their own YAML, never caches, and nothing that runs."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from detector.model.detector import Detector
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import YamlFile
from detector.weights.interop.yolov5 import is_foreign, load_yolov5, read_yolov5

Write = Callable[..., Path]
LEGACY = {"_use_new_zipfile_serialization": False}
CUT = "its weights do not fit its YAML: "


def equal(model: Detector, network: Detector) -> bool:
    expected = network.state_dict()
    found = model.state_dict()
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_every_weight_arrives(write_yolov5: Write, network: Detector, options: dict):
    model = load_yolov5(write_yolov5(**options))
    assert equal(model, network)
    assert model.names == ("name0", "name1", "name2")
    assert model.head.fitted
    assert not model.training
    images = torch.rand(1, 3, 64, 96)
    for found, expected in zip(model(images), network(images), strict=True):
        assert torch.equal(found, expected)


def test_anchors_become_pixels_and_caches_stay_behind(write_yolov5: Write):
    foreign = read_yolov5(write_yolov5())
    # In the file, at stride 4: 10 / 4 = 2.5, 13 / 4 = 3.25 cells.
    assert foreign.state["rows.9.anchors_wh"][0, 0].tolist() == [10, 13]
    assert not [name for name in foreign.state if "grid" in name or name.endswith(".anchors")]
    assert all(
        tensor.dtype == torch.float32
        for name, tensor in foreign.state.items()
        if not name.endswith("num_batches_tracked")
    )


def test_caches_that_are_expanded_views(write_yolov5: Write, network: Detector):
    """YOLOv5 computes them as views when it predicts, and a float32 checkpoint keeps the views."""

    def expanded(model: nn.Module) -> dict[str, nn.Module]:
        model.float().get_submodule("model.9").anchor_grid = torch.ones(1, 3, 1, 1, 2).expand(
            1, 3, 80, 80, 2
        )
        return {"model": model}

    model = load_yolov5(write_yolov5(wrap=expanded))
    assert torch.equal(model.rows[0].conv.weight, network.rows[0].conv.weight)


def test_a_network_inside_data_parallel(write_yolov5: Write, network: Detector):
    path = write_yolov5(wrap=lambda model: {"model": nn.DataParallel(model)})
    assert equal(load_yolov5(path), network)


def test_a_fused_network(write_yolov5: Write):
    def without_norms(model: nn.Module) -> None:
        for module in model.modules():
            if hasattr(module, "bn"):
                del module.bn

    path = write_yolov5(change=without_norms)
    with pytest.raises(DetectorError) as caught:
        load_yolov5(path)
    assert str(caught.value) == (
        f"{path}: its convolutions and batch norms are fused, which cannot be undone; use the "
        "checkpoint as it was before fusing"
    )


def test_the_yaml_inside_is_a_model_file(write_yolov5: Write):
    text = read_yolov5(write_yolov5()).yaml_text
    assert "nc: 3\n" in text
    assert "  - [-1, 3, C3, [16]]\n" in text
    assert "  - [[-1, 4], 1, Detect, [nc, anchors]]\n" in text
    assert "inplace" not in text


def test_fitted_anchors_win_over_the_yaml(write_yolov5: Write):
    def change(model: nn.Module) -> None:
        model.get_submodule("model.9").anchors.mul_(2)

    assert load_yolov5(write_yolov5(change=change)).head.anchors_wh[0, 0].tolist() == [20, 26]


def test_the_averaged_network_is_preferred(write_yolov5: Write, network: Detector):
    path = write_yolov5(wrap=lambda model: {"model": "none", "ema": model})
    assert equal(load_yolov5(path), network)


def test_a_bare_network_and_names_as_a_mapping(write_yolov5: Write):
    path = write_yolov5(wrap=lambda model: model, attributes={"names": {0: "a", 1: "b", 2: "c"}})
    assert load_yolov5(path).names == ("a", "b", "c")


def drop(path: str) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        del model.get_submodule(path).weight

    return change


def put(path: str, name: str, value: object) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        module = model.get_submodule(path)
        if name in module._parameters:
            value_ = nn.Parameter(value)
            setattr(module, name, value_)
        elif isinstance(value, torch.Tensor):
            module.register_buffer(name, value)
        else:
            setattr(module, name, value)

    return change


def test_indices_of_position_biases_stay_behind(write_yolov5: Write, network: Detector):
    """C3STR computes them: those of a file could lie outside the table."""
    index = torch.full((64, 64), 10**9)
    model = load_yolov5(write_yolov5(change=put("model.1", "relative_position_index", index)))
    assert torch.equal(model.rows[0].conv.weight, network.rows[0].conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("model.3.conv"), f"{CUT}'rows.3.conv.weight' is missing"),
        (put("model.3.conv", "more", torch.ones(1)), f"{CUT}'rows.3.conv.more' has no place in"),
        (
            put("model.3.bn", "weight", torch.ones(17)),
            CUT + r"'rows.3.bn.weight' has shape \(17,\), expected \(16,\)",
        ),
        (
            put("model.3.bn", "weight", torch.full((16,), torch.nan)),
            f"{CUT}'rows.3.bn.weight' holds numbers that are not finite",
        ),
        (
            put("model.2.cv1.bn", "eps", 1e-5),
            f"{CUT}'rows.2.cv1.bn' has eps 1e-05, expected 0.001",
        ),
        (
            put("model.3.conv", "stride", (1, 1)),
            CUT + r"'rows.3.conv' has stride \(1, 1\), expected \(2, 2\)",
        ),
        (put("model.3.conv", "padding", (2, 2)), f"{CUT}'rows.3.conv' has padding"),
        (put("model.3.conv", "dilation", (2, 2)), f"{CUT}'rows.3.conv' has dilation"),
        (put("model.4.m", "kernel_size", 3), f"{CUT}'rows.4.m' has kernel_size 3, expected 5"),
        (
            put("model.3", "act", nn.LeakyReLU(0.1)),
            f"{CUT}'rows.3.act' is LeakyReLU, expected SiLU; its YAML needs `activation:`",
        ),
        (put("model.9", "anchors", torch.ones(3, 3, 2)), f"{CUT}'rows.9.anchors_wh' has shape"),
    ],
)
def test_weights_that_do_not_fit(write_yolov5: Write, change: object, message: str):
    with pytest.raises(DetectorError, match=rf"foreign\.pt: {message}"):
        load_yolov5(write_yolov5(change=change))


def test_the_activation_that_the_yaml_names(write_yolov5: Write, network: Detector):
    """A slope that only the code has would go unseen."""
    rows = YamlFile(Path("tiny.yaml"), network.definition.text).value
    attributes = {"yaml": {**rows, "activation": "nn.LeakyReLU(0.1)"}}

    def leaky(slope: float) -> Callable[[nn.Module], None]:
        def change(model: nn.Module) -> None:
            for path, _ in list(model.named_modules()):
                if path.endswith(".act"):
                    put(path.removesuffix(".act"), "act", nn.LeakyReLU(slope))(model)

        return change

    model = load_yolov5(write_yolov5(attributes=attributes, change=leaky(0.1)))
    assert model.rows[0].act.negative_slope == 0.1
    message = f"{CUT}'rows.0.act' has negative_slope 0.2, expected 0.1$"
    with pytest.raises(DetectorError, match=message):
        load_yolov5(write_yolov5(attributes=attributes, change=leaky(0.2)))


ROWS = {"backbone": [[-1, 1, "Conv", [8]]], "head": [[-1, 1, "Detect", ["nc", "anchors"]]]}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"names": None}, "has no list of class names"),
        ({"names": ["a", 2, "c"]}, "has no list of class names"),
        ({"names": ["a", "\ud800", "c"]}, "has no list of class names"),
        ({"yaml": None}, "no YOLOv5 network with its YAML in this checkpoint"),
        (
            {"yaml": {"nc": Path("x")}},
            "the YAML inside holds a PickledObject, expected plain values",
        ),
        ({"yaml": {**ROWS, "nc": 1 << 20_000}}, "the YAML inside holds a number of 20001 bits"),
        ({"yaml": {**ROWS, "nc": ["x" * 600_000] * 2}}, "the YAML inside is too large"),
        ({"yaml": {**ROWS, "wings": 2}}, "unknown key 'wings'"),
        ({"yaml": {**ROWS, "backbone": [[-1, 1, "eval", ["1+1"]]]}}, "unknown module 'eval'"),
    ],
)
def test_networks_without_what_is_needed(write_yolov5: Write, attributes: dict, message: str):
    with pytest.raises(DetectorError, match=message) as caught:
        load_yolov5(write_yolov5(attributes=attributes))
    assert "foreign.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_yaml_that_holds_itself(write_yolov5: Write):
    rows: list[object] = []
    rows.append(rows)
    with pytest.raises(DetectorError, match="the YAML inside is too large$"):
        load_yolov5(write_yolov5(attributes={"yaml": {"backbone": rows}}))


@pytest.mark.parametrize(
    "value", [pytest.param(1 << 20_000, id="20001 bits"), -(1 << 40), float("nan"), 1e300]
)
def test_a_setting_that_is_too_large(write_yolov5: Write, value: float):
    def change(model: nn.Module) -> None:
        model.get_submodule("model.0.conv").kernel_size = (3, value)

    with pytest.raises(
        DetectorError, match=r"'rows\.0\.conv' has a kernel_size that is too large$"
    ):
        load_yolov5(write_yolov5(change=change))


@pytest.mark.parametrize("name", [("a", "b"), "a" * 101])
def test_a_module_whose_name_is_none(write_yolov5: Write, name: object):
    def change(model: nn.Module) -> None:
        model.get_submodule("model.0")._modules[name] = nn.Identity()  # type: ignore[index]

    with pytest.raises(DetectorError, match="a module is called "):
        load_yolov5(write_yolov5(change=change))


def test_a_network_that_holds_itself(write_yolov5: Write):
    def wrap(model: nn.Module) -> dict[str, nn.Module]:
        activation = model.get_submodule("model.3.act")
        activation._modules["again"] = activation
        return {"model": model}

    with pytest.raises(DetectorError, match="its network is nested too deeply or too large$"):
        load_yolov5(write_yolov5(wrap=wrap))


def test_tensors_that_share_one_storage_too_often(write_yolov5: Write):
    def wrap(model: nn.Module) -> dict[str, nn.Module]:
        big = torch.zeros(100_000)
        for i in range(40):
            model.get_submodule("model.3").register_buffer(f"b{i}", big)
        return {"model": model}

    # 40 × 400 kB out of a file of half a MB, of which four times are read.
    with pytest.raises(DetectorError, match="its tensors are larger than the file$"):
        read_yolov5(write_yolov5(wrap=wrap))


def test_recognition(write_yolov5: Write, tmp_path: Path):
    assert is_foreign(write_yolov5())
    assert is_foreign(write_yolov5(name="foreign.bin"))
    assert is_foreign(tmp_path / "missing.pth")
    (tmp_path / "a.bin").write_bytes(b"text")
    assert not is_foreign(tmp_path / "a.bin")


def test_the_published_checkpoint(shared: Path):
    path = shared / "weights/yolov5n_coco.pt"
    digest = "edd2e5cc4e3caa4b508168b51d9dc529da58b37813e0d2c8b49aba06aa3472dc"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    model = load_yolov5(path)
    assert sum(p.numel() for p in model.parameters()) == 1_872_157
    assert len(model.names) == 80
    assert (model.names[0], model.names[79]) == ("person", "toothbrush")
    assert model.strides == (8, 16, 32)
    assert model.head.anchors_wh[2].tolist() == [[116, 90], [156, 198], [373, 326]]
