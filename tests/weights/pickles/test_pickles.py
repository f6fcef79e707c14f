"""The closed unpickler: data come out, nothing runs, everything else is one line."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detector.utils.errors import DetectorError
from detector.weights.pickles import machine
from detector.weights.pickles.budget import Budget
from detector.weights.pickles.machine import GlobalName, PickledObject, StoredTensor
from detector.weights.pickles.pickles import LEGACY_MAGIC, looks_like_checkpoint, open_checkpoint

LEGACY = {"_use_new_zipfile_serialization": False}


def save(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


def write_program(path: Path, program: bytes, **members: bytes) -> Path:
    """A zip as torch.save writes it, with a pickle of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def read(path: Path) -> object:
    with open_checkpoint(path) as content:
        return content


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> object:
        return self.call


class WithSetState:
    def __setstate__(self, state: dict[str, object]) -> None:
        Path(str(state["target"])).touch()


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_plain_values_and_tensors_come_out_as_they_went_in(tmp_path: Path, options: dict):
    base = torch.arange(24, dtype=torch.float32)
    content = {
        "plain": [None, True, False, 1, -5, 1 << 70, 2.5, "é", b"\x00\xff", (1, (2, 3)), ()],
        "ordered": collections.OrderedDict(a=1, b={2: "x"}),
        "view": base.view(4, 6).t()[1:3],
        "half": torch.tensor([1.5], dtype=torch.float16),
        "brain": torch.tensor([1.5], dtype=torch.bfloat16),
        "integers": torch.tensor([[1, -2]]),
        "parameter": nn.Parameter(torch.ones(2, 2)),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7.0),
        "size": torch.Size([2, 3]),
    }
    with open_checkpoint(save(tmp_path / "a.pt", content, **options)) as found:
        assert found["plain"] == content["plain"]
        assert found["ordered"] == {"a": 1, "b": {2: "x"}}
        assert found["size"] == (2, 3)
        for name, expected in content.items():
            if isinstance(expected, torch.Tensor):
                assert isinstance(found[name], StoredTensor)
                tensor = found[name].read()
                assert tensor.dtype == expected.dtype
                assert torch.equal(tensor, expected.detach())


def test_objects_become_records(tmp_path: Path):
    # Path → a call with its parts; an array → a call, then its state; a class → its name.
    content = {"path": Path("a/b"), "array": np.ones(2), "class": nn.Conv2d, "set": {1, 2}}
    found = read(save(tmp_path / "a.pt", content))
    assert isinstance(found["path"], PickledObject)
    assert found["path"].args == ("a", "b")
    assert isinstance(found["array"], PickledObject)
    assert found["array"].name.endswith("multiarray._reconstruct")
    assert found["class"] == GlobalName("torch.nn.modules.conv.Conv2d")
    assert found["set"].args == ([1, 2],)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "attack",
    [
        lambda target: Calls(os.system, f"touch {target}"),
        lambda target: Calls(eval, f"open({target!r}, 'w')"),
        lambda target: Calls(exec, f"open({target!r}, 'w')"),
        lambda target: Calls(getattr, Calls(__import__, "os"), "system"),
    ],
    ids=["os.system", "eval", "exec", "getattr"],
)
def test_calls_are_written_down_not_made(
    tmp_path: Path, attack: object, protocol: int, options: dict
):
    target = tmp_path / "target"
    path = save(tmp_path / "a.pt", [attack(str(target))], pickle_protocol=protocol, **options)
    found = read(path)
    assert isinstance(found[0], PickledObject)
    assert not target.exists()


def test_the_attack_works_where_pickles_are_trusted(tmp_path: Path):
    """Otherwise the tests above would prove nothing."""
    target = tmp_path / "target"
    path = save(tmp_path / "a.pt", [Calls(os.system, f"touch {target}")])
    torch.load(path, weights_only=False)
    assert target.exists()


def test_a_state_is_kept_not_set(tmp_path: Path):
    instance = WithSetState()
    instance.target = str(tmp_path / "target")
    found = read(save(tmp_path / "a.pt", instance))
    assert isinstance(found, PickledObject)
    assert found.name.endswith("WithSetState")
    assert found.state == {"target": str(tmp_path / "target")}
    assert not (tmp_path / "target").exists()


def test_the_result_of_a_call_cannot_be_called(tmp_path: Path):
    # getattr(__import__('os'), 'system')('touch …'): the second call's function is no name.
    target = tmp_path / "target"
    program = (
        b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\x02\x00\x00\x00os\x85R"
        b"X\x06\x00\x00\x00system\x86R"
        + b"X"
        + len(f"touch {target}").to_bytes(4, "little")
        + f"touch {target}".encode()
        + b"\x85R."
    )
    with pytest.raises(DetectorError, match=r"calls 'builtins\.getattr', which is no name$"):
        read(write_program(tmp_path / "a.pt", program))
    assert not target.exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        # BUILD on a class would change the class for everyone.
        (b"\x80\x02ctorch.nn.parameter\nParameter\n}b.", "changes 'torch.nn.parameter.Parameter'"),
        (b"\x80\x02]}b.", "changes a list"),
        (b"\x80\x02}]K\x01s.", r"a dictionary with a list as a key"),
        (b"\x80\x02}((t(tt\x85K\x01s.", "a dictionary with a tuple as a key"),
        (b"\x80\x02(S'a'\ni__main__\nC\n.", "instruction STRING at byte 3, which no checkpoint"),
        (b"\x80\x02\x82\x01.", "instruction EXT1 at byte 2, which no checkpoint needs"),
        # STACK_GLOBAL of a tuple of tuples of …: its text would double with each.
        (
            b"\x80\x04K\x01" + b"q\0h\0\x86" * 40 + b"q\0h\0\x93.",
            "names a tuple of a tuple, expected",
        ),
        (b"\x80\x02K\x01Q.", "refers to something other than a storage"),
        (b"\x80\x02K\x01", "damaged pickle"),
        (b"\x80\x02R.", "damaged pickle"),
        (b"\x80\x02h\x05.", "damaged pickle"),
        (b"\x80\x02(.", "damaged pickle"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged pickle"),
        (b"", "damaged pickle"),
    ],
)
def test_programs_that_no_checkpoint_needs(tmp_path: Path, program: bytes, message: str):
    with pytest.raises(DetectorError, match=message) as caught:
        read(write_program(tmp_path / "a.pt", program))
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_read_and_freed(tmp_path: Path):
    depth = 200_000
    found = read(write_program(tmp_path / "a.pt", b"\x80\x02)" + b"\x85" * depth + b"."))
    for _ in range(depth):
        (found,) = found
    assert found == ()
    call = read(write_program(tmp_path / "b.pt", b"\x80\x02cx\ny\n)" + b"\x85" * depth + b"R."))
    assert isinstance(call, PickledObject)


def test_a_list_that_holds_itself(tmp_path: Path):
    content: list[object] = [1]
    content.append(content)
    found = read(save(tmp_path / "a.pt", content))
    assert found[1] is found


def test_a_pickle_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in ("pickles", "machine"):
        monkeypatch.setattr(f"detector.weights.pickles.{module}.MAX_PICKLE_BYTES", 1000)
    path = save(tmp_path / "a.pt", "x" * 2000)
    with pytest.raises(DetectorError, match=r"'data.pkl' has \d+ bytes, at most 1000 are read$"):
        read(path)
    path = save(tmp_path / "b.pt", "x" * 2000, **LEGACY)
    with pytest.raises(DetectorError, match="a pickle of more than 1000 bytes$"):
        read(path)


class OneStorage:
    """Stands for a storage of 4 floats."""


class StoragePickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        if isinstance(value, OneStorage):
            return ("storage", torch.FloatStorage, "0", "cpu", 4)
        return None


@pytest.mark.parametrize(
    ("what", "argument"),
    [
        (b"ctorch\nSize\n", b"](" + b"N" * 100 + b"e"),
        (b"ccollections\nOrderedDict\n", b"](" + b"K\x01K\x02\x86" * 100 + b"e"),
        (b"c_codecs\nencode\n", b"X\x64\x00\x00\x00" + b"x" * 100),
    ],
)
def test_calls_that_copy_the_same_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: bytes, argument: bytes
):
    """Each takes five bytes of the pickle and has 100 values copied: 1 + 100 count."""
    start = b"\x80\x02" + what + b"q\x000" + argument + b"\x85q\x010("
    monkeypatch.setattr(machine, "MAX_ARGUMENTS", 1010)
    assert len(read(write_program(tmp_path / "a.pt", start + b"h\x00h\x01R" * 10 + b"t."))) == 10
    with pytest.raises(DetectorError, match="calls with more than 1010 arguments$"):
        read(write_program(tmp_path / "b.pt", start + b"h\x00h\x01R" * 11 + b"t."))


def tensor_program(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of a tensor on a storage of 4 floats, whatever it claims to be."""
    stream = io.BytesIO()
    args = (OneStorage(), offset, size, stride, False, collections.OrderedDict())
    StoragePickler(stream, 2).dump(Calls(torch._utils._rebuild_tensor_v2, *args))
    return stream.getvalue()


def test_tensors_lie_in_their_storage(tmp_path: Path):
    numbers = np.arange(4, dtype=np.float32).tobytes()
    program = tensor_program(1, (3,), (1,))
    path = write_program(tmp_path / "a.pt", program, **{"data/0": numbers})
    with open_checkpoint(path) as tensor:
        assert tensor.read().tolist() == [1, 2, 3]


def test_expanded_views(tmp_path: Path):
    numbers = np.arange(4, dtype=np.float32).tobytes()
    program = tensor_program(1, (2, 5), (1, 0))  # numbers 1 and 2, each five times
    path = write_program(tmp_path / "a.pt", program, **{"data/0": numbers})
    with open_checkpoint(path) as tensor:
        assert tensor.bytes == 10 * 4  # more than the 16 of its storage
        assert tensor.read().tolist() == [[1] * 5, [2] * 5]
        assert Budget(path).read(tensor).shape == (2, 5)
    program = tensor_program(0, (1 << 30,), (0,))
    path = write_program(tmp_path / "b.pt", program, **{"data/0": numbers})
    with (
        pytest.raises(DetectorError, match="its tensors are larger than the file$"),
        open_checkpoint(path) as tensor,
    ):
        Budget(path).read(tensor)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (2, (3,), (1,), "a tensor of 3 in a storage of 4 numbers"),  # last is 2 + 2 = 4
        (0, (2, 2), (3, 1), "a tensor of 2×2 in a storage of 4 numbers"),  # last is 3 + 1 = 4
        (0, (1 << 40,), (0,), "a tensor of 1099511627776 in a storage of 4 numbers"),
        (0, (-1,), (1,), "damaged tensor"),
        (-1, (1,), (1,), "damaged tensor"),
        (0, (1, 1), (1,), "damaged tensor"),
        (0, (1,) * 40, (1,) * 40, "damaged tensor"),
    ],
)
def test_tensors_that_reach_beyond(tmp_path: Path, offset, size, stride, message: str):
    program = tensor_program(offset, size, stride)
    with pytest.raises(DetectorError, match=f"{message}$"):
        read(write_program(tmp_path / "a.pt", program, **{"data/0": bytes(16)}))


def test_a_storage_of_another_size(tmp_path: Path):
    path = write_program(tmp_path / "a.pt", tensor_program(0, (4,), (1,)), **{"data/0": bytes(12)})
    with (
        pytest.raises(DetectorError, match="storage '0' has 12 bytes, expected 16$"),
        open_checkpoint(path) as tensor,
    ):
        tensor.read()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is not a checkpoint", "not a checkpoint of PyTorch or Paddle"),
        (b"PK\x03\x04 and nothing else", "damaged or not an archive of PyTorch: "),
        (pickle.dumps(LEGACY_MAGIC, 2), "damaged pickle"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with pytest.raises(DetectorError, match=rf"a\.pt: .*{message}"):
        read(path)


def test_a_missing_file_and_a_folder(tmp_path: Path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(DetectorError, match="cannot be read: ") as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert not looks_like_checkpoint(path)


def test_a_torchscript_program(tmp_path: Path):
    path = write_program(tmp_path / "a.pt", b"\x80\x02N.", **{"constants.pkl": b"\x80\x02N."})
    with pytest.raises(DetectorError, match="a TorchScript program, not a checkpoint$"):
        read(path)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_damage_ends_in_one_line(tmp_path: Path, options: dict, rng: np.random.Generator):
    """Any truncation and any flipped byte gives data or one line, never another exception."""
    content = {"a": torch.ones(20), "b": PickledObject("x"), "c": [Calls(os.getpid)]}
    path = save(tmp_path / "a.pt", content, **options)
    whole = path.read_bytes()
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[rng.integers(len(whole)) :]
        else:
            damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            with open_checkpoint(path) as found:
                if isinstance(found, dict) and isinstance(found.get("a"), StoredTensor):
                    found["a"].read()
        except DetectorError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_recognition(tmp_path: Path, options: dict):
    assert looks_like_checkpoint(save(tmp_path / "a.bin", {"a": torch.ones(2)}, **options))
    (tmp_path / "b.bin").write_bytes(b"text")
    assert not looks_like_checkpoint(tmp_path / "b.bin")
