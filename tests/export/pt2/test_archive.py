"""Planted ``.pt2`` files: nothing in them runs, and each is refused in one line."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.export.pt2.archive import EXAMPLE, GRAPH, clean
from detector.export.pt2.backend import Pt2Backend
from detector.runtime.backends.seal import UNSEALED, seal
from detector.utils.errors import DetectorError

CONFIG = "data/weights/model_weights_config.json"


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> object:
        return self.call


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"archive/{name}", data)
        archive.comment = UNSEALED.encode()
    seal(path)  # whoever changes a file can do that too
    return path


@pytest.fixture
def plant(pt2_file: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that changes one JSON member of a good file, or adds members."""

    def run(
        change: Callable[[Any], None] | None = None, member: str = GRAPH, **more: bytes
    ) -> Path:
        parts = {**members(pt2_file), **more}
        if change is not None:
            content = json.loads(parts[member])
            change(content)
            parts[member] = json.dumps(content).encode()
        return write(tmp_path / "planted.pt2", parts)

    return run


def graph_of(content: Any) -> Any:
    return content["graph_module"]["graph"]


def in_size(text: str) -> Callable[[Any], None]:
    """Put a text in the place of the input's symbolic height."""

    def change(content: Any) -> None:
        sizes = graph_of(content)["tensor_values"]["images"]["sizes"]
        sizes[2]["as_expr"]["expr_str"] = text

    return change


def in_target(text: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        graph_of(content)["nodes"][0]["target"] = text

    return change


def in_input_name(text: str) -> Callable[[Any], None]:
    """Rename the input everywhere: its name becomes part of compiled source code."""

    def change(content: Any) -> None:
        renamed = json.loads(json.dumps(content).replace('"images"', json.dumps(text)))
        content.clear()
        content.update(renamed)

    return change


def in_guards(text: str) -> Callable[[Any], None]:
    return lambda content: content.update(guards_code=[text])


def in_argument(argument: dict[str, Any]) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        graph_of(content)["nodes"][0]["inputs"].append(
            {"name": "filename", "arg": argument, "kind": 1}
        )

    return change


def pickled_weight(content: Any) -> None:
    next(iter(content["config"].values()))["use_pickle"] = True


def attack_by(target: Path) -> str:
    return f"__import__('os').system('touch {target}')"


def test_attacks_work_where_files_are_trusted(plant: Callable[..., Path], tmp_path: Path):
    """Otherwise the tests below would prove nothing."""
    target = tmp_path / "target"
    stream = io.BytesIO()
    torch.save(((torch.zeros(1),), {"a": Calls(os.system, f"touch {target}")}), stream)
    attacks = [plant(in_size(attack_by(target))), plant(**{EXAMPLE: stream.getvalue()})]
    for path in attacks:
        target.unlink(missing_ok=True)
        with pytest.raises(Exception), zipfile.ZipFile(path):  # noqa: B017, PT012
            torch.export.load(path)
            raise RuntimeError
        assert target.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: (in_size(attack_by(t)),), 'the size "__import__'),
        (lambda t: (in_size("9**9**9"),), "the size '9"),
        (
            lambda t: (in_target("torch.serialization.os.system"),),
            "operator 'torch.serialization.os",
        ),
        (lambda t: (in_target("torch.ops.aten.save.default"),), "operator 'torch.ops.aten.save"),
        (
            lambda t: (in_target("torch.ops.aten.from_file.default"),),
            "operator 'torch.ops.aten.from",
        ),
        (
            lambda t: (in_target("torch.ops.aten.relu.evil"),),
            "operator .*, which this torch does not",
        ),
        (lambda t: (in_target("torch.ops.higher_order.cond"),), "operator 'torch.ops.higher_order"),
        (lambda t: (in_target("#x:y"),), "operator '#x:y'"),
        (lambda t: (in_target("_operator.attrgetter"),), "operator '_operator.attrgetter'"),
        (lambda t: (in_input_name(f"x={attack_by(t)}"),), '"x=__import__'),
        (lambda t: (in_argument({"as_string": "a"}),), "text for argument 'filename' of torch.ops"),
        (lambda t: (in_argument({"as_operator": "torch.add"}),), "'as_operator' in 'arg'"),
        (lambda t: (in_argument({"as_custom_obj": {"name": "a"}}),), "'as_custom_obj' in 'arg'"),
        (lambda t: (pickled_weight, CONFIG), "the pickled weight 'model.rows"),
    ],
)
def test_programs_that_are_refused(
    plant: Callable[..., Path], tmp_path: Path, make: Callable[..., Any], message: str
):
    target = tmp_path / "target"
    path = plant(*make(target))
    with pytest.raises(
        DetectorError, match=rf"planted\.pt2: refused, nothing in it was run: {message}"
    ) as caught:
        Pt2Backend(path)
    assert "\n" not in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize(
    "name",
    [
        "data/constants/custom_obj_0",
        "data/weights/model.pt",
        "data/constants/model.pt",
        "data/aotinductor/model/a.so",
        "models/other.json",
        "code/a.py",
    ],
)
def test_members_that_are_refused(plant: Callable[..., Path], name: str):
    with pytest.raises(DetectorError, match=f"refused, nothing in it was run: a member '{name}'$"):
        Pt2Backend(plant(**{name: b"x"}))


def test_example_inputs_and_guards_are_left_out(plant: Callable[..., Path], tmp_path: Path):
    target = tmp_path / "target"
    stream = io.BytesIO()
    torch.save(((torch.zeros(1),), {"a": Calls(os.system, f"touch {target}")}), stream)
    path = plant(in_guards(attack_by(target)), **{EXAMPLE: stream.getvalue()})
    boxes, _ = Pt2Backend(path)(np.zeros((1, 3, 64, 64), np.float32))
    assert boxes.shape == (1, 2 * (32 * 32 + 16 * 16), 4)  # 2 anchors at strides 2 and 4
    assert not target.exists()


def test_what_is_written_is_clean_already(pt2_file: Path):
    parts = members(pt2_file)
    assert parts[EXAMPLE] == b""
    content = json.loads(parts[GRAPH])
    assert content["guards_code"] == []
    assert all(node["metadata"] == {} for node in graph_of(content)["nodes"])
    assert clean(pt2_file)[0] == clean(pt2_file, io.BytesIO(pt2_file.read_bytes()))[0]


def test_torch_reads_the_file_too(pt2_file: Path):
    program = torch.export.load(pt2_file)
    boxes, scores = program.module()(torch.zeros(2, 3, 64, 64))
    assert (boxes.shape[0], scores.shape[2]) == (2, 3)


@pytest.mark.parametrize("data", [b"", b"text that is no archive", pickle.dumps([1])])
def test_files_of_another_kind(tmp_path: Path, data: bytes):
    path = tmp_path / "a.pt2"
    path.write_bytes(data)
    with pytest.raises(DetectorError, match=r"a\.pt2: no seal: not a file that tools/export.py"):
        Pt2Backend(path)
    with pytest.raises(DetectorError, match=r"a\.pt2: damaged or not an archive of PyTorch"):
        clean(path)


def test_other_archives(tmp_path: Path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt2")
    with pytest.raises(DetectorError, match="refused, nothing in it was run: a member 'data.pkl'$"):
        clean(tmp_path / "a.pt2")
    write(tmp_path / "b.pt2", {"archive_format": b"pt2"})
    with pytest.raises(DetectorError, match="not a program of torch.export$"):
        Pt2Backend(tmp_path / "b.pt2")
    with pytest.raises(DetectorError, match="no such file$"):
        Pt2Backend(tmp_path / "c.pt2")


def test_a_program_without_metadata(plant: Callable[..., Path]):
    with pytest.raises(DetectorError, match="no 'detector' metadata"):
        Pt2Backend(plant(**{"extra/detector": b""}))


def test_metadata_that_do_not_fit(plant: Callable[..., Path], pt2_file: Path):
    metadata = json.loads(members(pt2_file)["extra/detector"])
    metadata["names"] = ["a"]
    path = plant(**{"extra/detector": json.dumps(metadata).encode()})
    with pytest.raises(DetectorError, match="3 classes, but its metadata name 1$"):
        Pt2Backend(path)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"[" * 100_000, b'{"graph_module": {"graph": {"nodes": [1]}}}', b"1" * 9999],
)
def test_a_graph_that_is_none(plant: Callable[..., Path], content: bytes):
    with pytest.raises(DetectorError) as caught:
        Pt2Backend(plant(**{GRAPH: content}))
    assert "\n" not in str(caught.value)


def test_damage_is_noticed(pt2_file: Path, tmp_path: Path, rng: np.random.Generator):
    whole = pt2_file.read_bytes()
    path = tmp_path / "a.pt2"
    messages = []
    for _ in range(60):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[rng.integers(len(whole)) :]
        else:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            clean(path)  # a flipped bit between the members changes nothing
        except DetectorError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
