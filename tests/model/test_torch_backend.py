"""The PyTorch backend: outputs equal to the network's, and errors of devices."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.model.detector import Detector
from detector.model.torch_backend import TorchBackend, choose_device, fastest_precision
from detector.runtime.backends.backend import Backend
from detector.runtime.decoding.decoding import decode_all
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load


@pytest.fixture
def model(finder: Path) -> Detector:
    return load(finder)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 32, 96)])
def test_it_computes_what_the_network_computes(model: Detector, shape, rng):
    images = rng.random(shape, np.float32)
    before = images.copy()
    with torch.no_grad():
        expected = model.decode(model(torch.from_numpy(images)))
    backend = TorchBackend(model)
    maps = backend(images)
    cells = shape[2] // 16, shape[3] // 16
    assert [one.shape for one in maps] == [(shape[0], 2 * (5 + 2), *cells)]  # anchors, classes
    found = decode_all(backend.decoding, maps)
    # Channels-last convolutions may add in another order.
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray)
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_arithmetic_in_bf16(model: Detector, rng: np.random.Generator):
    """Outputs are float32 and differ, by less than the rounding of some layers to 8 bits."""
    images = rng.random((1, 3, 64, 64), np.float32)
    (exact,), (short,) = (TorchBackend(model, precision=one)(images) for one in ("fp32", "bf16"))
    assert short.dtype == np.float32
    difference = np.abs(short - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.05


def test_what_it_says_of_itself(model: Detector):
    backend: Backend = TorchBackend(model)
    assert backend.names == ("red", "green")
    assert backend.preprocess == Preprocess(size_hw=(64, 64))
    assert backend.batch_size is None
    assert backend.dynamic_size
    other = Preprocess(size_hw=(96, 128), mode="stretch")
    assert TorchBackend(model, preprocess=other).preprocess == other
    assert model.preprocess.size_hw == (64, 64)


def test_a_network_in_training_is_put_into_eval_mode(model: Detector, rng):
    images = rng.random((2, 3, 64, 64), np.float32)
    expected = TorchBackend(model)(images)
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    found = TorchBackend(model.train())(images)
    np.testing.assert_array_equal(found[0], expected[0])
    assert not model.training
    assert all(torch.equal(statistics[name], value) for name, value in model.named_buffers())


def test_choose_device(monkeypatch: pytest.MonkeyPatch):
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cpu:0") == torch.device("cpu:0")
    for there, expected in ((None, "cpu"), (torch.device("cuda"), "cuda")):
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda there=there, **_: there
        )
        assert choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdua", "unknown device 'cdua'; did you mean 'cuda'?"),
        ("CPU", "unknown device 'CPU'; did you mean 'cpu'?"),
        ("gpu", "unknown device 'gpu'; expected cuda"),
        ("gpu:1", "unknown device 'gpu:1'; expected cuda:1"),
        ("0", "unknown device '0'; expected cuda:0"),
        (
            "0,1,2",
            "unknown device '0,1,2'; a process uses one, start 3 with torchrun --nproc-per-node 3",
        ),
        ("-1", "unknown device '-1'; expected auto, cpu, cuda, mps or cuda:1"),
        ("", "unknown device ''; expected auto, cpu, cuda, mps or cuda:1"),
        ("cuda:", "unknown device 'cuda:'; did you mean 'cuda'?"),
    ],
)
def test_unknown_devices(name: str, message: str):
    with pytest.raises(DetectorError) as caught:
        choose_device(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["cuda:97", "mps", "xpu", "hpu"])
def test_devices_that_are_not_there(name: str):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(DetectorError) as caught:
        choose_device(name)
    message = str(caught.value)
    assert message.startswith(f"device {name!r} cannot be used: ")
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_precision_of_a_cpu(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fastest_precision(torch.device("cpu")) == expected


def test_precision_of_other_devices(monkeypatch):
    assert fastest_precision(torch.device("mps")) == "fp32"
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # torch 2.10
    assert fastest_precision(torch.device("cpu")) == "fp32"
    for supported, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda supported=supported, **_: supported
        )
        assert fastest_precision(torch.device("cuda")) == expected
