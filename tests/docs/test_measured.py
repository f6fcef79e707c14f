"""Tables of measurements: each equals its file, and its commands are those of the tools."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detector.cli.flags import parse
from detector.utils.errors import DetectorError
from docs.measure import __main__ as command_line
from docs.measure import record, run
from docs.measure.entries import MEASUREMENTS, Measurement
from docs.measure.record import Record, fill, marked, path_of, read, write
from tests.docs.pages import PAGES, ROOT
from tests.docs.test_commands import settings_of, tool_and_words

TABLE = Record(
    recorded="2026-11-22",
    measured=None,
    machine=None,
    versions=None,
    commit=None,
    commands=None,
    header=("", "ms"),
    rows=(("A", "1.0"), ("B", "2.0")),
)
COMPLETE = TABLE.model_copy(
    update={
        "measured": "2026-11-30",
        "machine": "a CPU, 2 cores",
        "versions": {"Python": "3.11", "torch": "2.14"},
        "commit": "0123abcd",
        "commands": ("python tools/info.py --json {json}",),
    }
)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_table_of_the_page_is_that_of_the_file(name: str):
    page = ROOT / "docs" / MEASUREMENTS[name].page
    found = marked(name, page.read_text(encoding="utf-8"))
    assert found is not None
    assert found[1] == read(name).table(), f"run: python -m docs.measure --from-files {name}"


def test_each_marker_and_file_has_an_entry():
    marks = [
        name
        for page in PAGES
        for name in re.findall(r"<!-- measured: (\S+) -->", page.read_text(encoding="utf-8"))
    ]
    assert sorted(marks) == sorted(MEASUREMENTS)
    assert {file.stem for file in record.RECORDS.iterdir()} == MEASUREMENTS.keys()


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_flags_of_commands(name: str):
    """With a path in the place of each name in braces."""
    for command in MEASUREMENTS[name].commands(read(name).rows):
        tool, words = tool_and_words(run.PLACE.sub("path.xml", command)) or ("", [])
        parse(settings_of(tool), words, tool)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measured_columns_are_there(name: str):
    """All rows have the header's columns; a first one says what the row is of."""
    found = read(name)
    assert {len(row) for row in found.rows} == {len(found.header)}
    assert set(MEASUREMENTS[name].columns) <= set(range(1, len(found.header)))
    assert (found.measured is None) == (found.commands is None)


def test_files_are_as_they_would_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in MEASUREMENTS:
        found, text = read(name), path_of(name).read_text(encoding="utf-8")
        with monkeypatch.context() as patched:
            patched.setattr(record, "RECORDS", tmp_path)
            write(name, found)
            assert path_of(name).read_text(encoding="utf-8") == text
            assert read(name) == found


# --------------------------------------------------------------------------- a measurement is run


def test_costs_are_measured_anew():
    """Counted in another process, they are those of the page; beside them stands where and when."""
    before = read("osa-costs")
    emptied = before.model_copy(update={"rows": tuple((row[0], *"????") for row in before.rows)})
    found = run.measure(MEASUREMENTS["osa-costs"], emptied, {})
    assert found.rows == before.rows
    assert (found.measured, found.header) == (found.recorded, before.header)
    assert found.commands == (
        "python tools/info.py --cfg cfg/densenet40.yaml --compare densenet40:osa --json {json}",
    )
    assert found.versions is not None
    assert {"Python", "torch"} <= found.versions.keys()


def test_commands_of_costs_follow_the_rows():
    rows = [["`cfg/vgg.yaml`", "16"], ["`cfg/vgg.yaml`", "19"], ["`cfg/peleenet.yaml`", ""]]
    assert MEASUREMENTS["backbone-costs"].commands(rows) == [
        "python tools/info.py --cfg cfg/vgg.yaml --variant 16 --compare cfg/vgg.yaml:19 "
        "--imgsz 224 --json {json}",
        "python tools/info.py --cfg cfg/peleenet.yaml --imgsz 224 --json {json}",
    ]
    assert MEASUREMENTS["model-costs"].commands([["", "`yolox`, nano", "", "416"]]) == [
        "python tools/info.py --cfg yolox --variant nano --imgsz 640 --json {json}",
        "python tools/benchmark.py detect --cfg yolox --variant nano --imgsz 416 --formats onnx "
        "--batches 1 --images 16 --rounds 3 --json {json}",
    ]


def configuration(form: str, batch: int, ms: float, **more: Any) -> dict[str, Any]:
    return {
        "format": form,
        "batch": batch,
        "file": "",
        "precision": "fp32",
        "wall_ms_per_image": {"median": ms},
        "ms_per_image": {"decode": 5, "preprocess": 3, "network": ms, "nms": 4.25},
        "peak_bytes": 9.2e8 * batch,
        "start_seconds": 4.75,
        **more,
    }


def cells(name: str, *results: Any) -> list[Sequence[str]]:
    return [list(row) for row in MEASUREMENTS[name].cells(list(results))]


def test_cells_of_runtimes():
    forms = ("openvino", "pytorch", "fused", "onnx", "pt2")
    found = [configuration(form, batch, 80 + batch) for batch in (1, 8) for form in forms]
    rows = cells("runtime-speed", {"configurations": found})
    stages = ["5.0", "3.0", "81.0", "4.2"]
    assert rows == [["81.0", *stages, "88.0", "920, 7360", "4.8 s"]] * 5


def test_cells_of_models():
    cost = {"deploy_params": 904_463, "deploy_macs": 1.2374e9, "compared": []}
    speed = {"configurations": [configuration("onnx", 1, 12.4, file_bytes=3.68e6)]}
    assert cells("model-costs", cost, speed) == [["904,463", "1.237", "12", "3.7"]]


def test_cells_of_baselines():
    line = {
        "params": 3_525_736,
        "macs": 2.1767e9,
        "memory_access": 12_440_008,
        "peak_bytes": 36_474_880,
        "seconds": 0.02977,
        "images_per_second": 33.59,
        "flops_per_second": 146.2e9,
    }
    assert cells("baseline-measures", {"lines": [line]}) == [
        ["3,525,736", "2.177", "12.4", "36", "29.8", "33.6", "146"]
    ]


def test_cells_of_dsod():
    """A runtime reaches half the speed of a product of matrices, 320 GFLOP/s."""
    times = {"onnx": 2, "fused": 1, "openvino": 3}
    found = [configuration(form, 1, ms, peak_share=0.5) for form, ms in times.items()]
    result = {"configurations": found, "matrix_product_flops": {"2": 3.2e11}}
    assert cells("dsod-speed", result) == [["1.0", "2.0", "3.0", "920", "160"]]


def test_cells_of_int8_files():
    """A runtime without bf16 has a dash there; files are told by name and precision."""
    openvino, onnx = ("openvino", "onnx")
    found = [
        configuration(openvino, 1, 29.04),
        configuration(openvino, 1, 18.6, precision="bf16"),
        configuration(openvino, 1, 38.1, file="decoded.xml"),
        configuration(openvino, 1, 21.8, file="int8.xml", precision="int8"),
        configuration(onnx, 1, 27.7),
    ]
    assert cells("int8-speed", {"configurations": found}) == [
        ["38.1", "29.0", "18.6", "21.8"],
        ["–", "27.7", "–", "–"],
    ]


def test_cells_of_ap():
    measured = {
        "before": {"AP": 0.335, "AP50": 0.5},
        "after": {"AP": 0.3341, "AP50": 0.6},
        "intervals": {"change": [-0.0081, 0.0055]},
    }
    kept = ["row 0 (Focus)", "row 1 (Conv)"]
    results = [
        {"certificate": {"measured": measured, "quantisation": {"in_float": rows}}}
        for rows in ([], kept)
    ]
    change = "−0.0009, −0.0081 to +0.0055"
    assert cells("int8-ap", *results) == [
        ["0.3350", "0.3341", change, "none"],
        ["0.3350", "0.3341", change, "row 0 (Focus), row 1 (Conv)"],
    ]


def test_cells_of_ratios():
    names = ("RepVGG-A0, batch 1", "RepVGG-A0, batch 16")
    results = [
        {name: {"deployed_to_train": ratio, "train_to_timm": 0.985} for name in names}
        for ratio in (0.667, 0.551)
    ]
    assert cells("backbone-speed", *results) == [["0.67", "0.98", "0.55", "0.98"]] * 2
    one = {
        "milliseconds": {"torchvision": [765, 770, 760.4], "detector": [562.4]},
        "phases": {"decode": 1, "network": 558.2, "nms": 24.4},
        "ratio": 0.735,
    }
    both = {"PyTorch": one, "ONNX Runtime": one}
    assert cells("ssd-speed", both) == [["765", "562", "0.73", "558", "24"]] * 2


# ------------------------------------------------------------------------------- on pages, in files


def test_where_numbers_come_from():
    assert TABLE.table() == (
        "| | ms |\n|---|---|\n| A | 1.0 |\n| B | 2.0 |\n\n"
        "*since 2026-11-22; machine not recorded; commit not recorded; versions not recorded*"
    )
    assert COMPLETE.origin() == (
        "*measured 2026-11-30; a CPU, 2 cores; commit 0123abcd; Python 3.11, torch 2.14*"
    )


def test_the_table_is_replaced_and_nothing_else(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- measured: x -->\nold\n\nlines\n<!-- end: x -->\n"
        "<!-- measured: x-y -->\nkept\n<!-- end: x-y -->\n"
    )
    fill(page, "x", TABLE)
    expected = f"a\n<!-- measured: x -->\n{TABLE.table()}\n<!-- end: x -->\n"
    assert page.read_text() == f"{expected}<!-- measured: x-y -->\nkept\n<!-- end: x-y -->\n"
    fill(page, "x", TABLE)
    assert page.read_text().startswith(expected)
    with pytest.raises(DetectorError) as error:
        fill(page, "y", TABLE)
    assert str(error.value) == (
        f"{page}: no table between '<!-- measured: y -->' and '<!-- end: y -->'"
    )


def test_files_with_wrong_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    values = TABLE.model_dump(mode="json")
    path_of("x").write_text(json.dumps({**values, "comit": "0"}))
    with pytest.raises(DetectorError, match="unknown key 'comit'; did you mean 'commit'?"):
        read("x")


def test_rows_of_another_number():
    assert run.replaced(TABLE.rows, (1,), [["3"], ["4"]]) == (("A", "3"), ("B", "4"))
    with pytest.raises(DetectorError) as error:
        run.replaced(TABLE.rows, (1,), [["3"]])
    assert str(error.value) == "the commands measured 1 rows, the table has 2"


# ----------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ssd-sped"], "no measurement is called ssd-sped; did you mean 'ssd-speed'?"),
        (["int8-ap", "--with", "bccd"], "--with: expected NAME=PATH, found bccd"),
        (
            ["runtime-speed", "--with", "images=a"],
            "--with yolov5n=PATH is missing; needed: images, yolov5n",
        ),
        (
            ["runtime-speed", "--with", "images=a", "--with", "yolov5n=b", "--with", "bccd=c"],
            "--with bccd: no command asks for it; needed: images, yolov5n",
        ),
        (["ssd-speed", "--with", "a=b"], "--with a: no command asks for it; needed: none"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert command_line.main(words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_command_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    failing = Measurement("x.md", lambda rows: ["python -c exit(3)"], (1,), lambda results: [])
    monkeypatch.setitem(MEASUREMENTS, "ssd-speed", failing)
    before = path_of("ssd-speed").read_bytes()
    assert command_line.main(["ssd-speed"]) == 2
    assert capsys.readouterr().err.startswith("error: exit code 3: ")
    assert path_of("ssd-speed").read_bytes() == before


def test_all_are_listed(capsys: pytest.CaptureFixture[str]):
    assert command_line.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "page", "measured", "machine", "--with"]
    assert [line.split()[0] for line in lines[2:]] == list(MEASUREMENTS)


def test_files_give_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``--from-files`` restores a page whose table was changed by hand."""
    monkeypatch.setattr(command_line, "DOCS", tmp_path)
    text = (ROOT / "docs" / "ssd.md").read_text(encoding="utf-8")
    (tmp_path / "ssd.md").write_text(text.replace(read("ssd-speed").rows[0][1], "1"))
    assert command_line.main(["ssd-speed", "--from-files"]) == 0
    assert (tmp_path / "ssd.md").read_text() == text
