"""Addresses of cameras and streams, and lists of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector.runtime.sources import open_source
from detector.runtime.streams.address import Address, address_of, is_live, read_list
from detector.settings.streams import StreamSettings
from detector.utils.errors import DetectorError


@pytest.mark.parametrize(
    ("source", "address", "shown"),
    [
        ("0", Address("0", "camera0"), "camera 0"),
        ("007", Address("7", "camera7"), "camera 7"),
        (
            "rtsp://me:secret@10.0.0.7:554/live/door.sdp?token=1",
            Address("rtsp://me:secret@10.0.0.7:554/live/door.sdp?token=1", "door"),
            "rtsp://***@10.0.0.7:554/live/door.sdp?***",
        ),
        (
            "http://[::1]:80/a.mjpg",
            Address("http://[::1]:80/a.mjpg", "a"),
            "http://[::1]:80/a.mjpg",
        ),
    ],
)
def test_addresses(source: str, address: Address, shown: str):
    assert is_live(source)
    assert address_of(source) == address
    assert address.shown == shown


def test_a_device_is_a_camera(tmp_path: Path, monkeypatch):
    assert not is_live("/dev/zero")
    assert not is_live(str(tmp_path / "video0"))
    status = os.stat("/dev/zero")
    monkeypatch.setattr(Path, "stat", lambda self, **_: status)
    assert address_of("/dev/video0") == Address("/dev/video0", "video0")


def test_a_file_named_as_a_number_is_no_camera(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").touch()
    assert not is_live("0")
    assert is_live("1")


@pytest.mark.parametrize(
    "url",
    ["http://me:secret@host:port/a", "rtsp://me:secret@host:70000/a", "http://[me:secret@x/a"],
)
def test_a_port_that_is_none(url: str):
    with pytest.raises(DetectorError) as caught:
        open_source(url, streams=StreamSettings())
    assert str(caught.value).endswith(": is not a URL with a host and a port of 1 to 65535")
    assert "secret" not in str(caught.value)


def listed(folder: Path, text: str) -> Path:
    path = folder / "all.streams"
    path.write_text(text)
    return path


def test_a_list_names_each_camera_once(tmp_path: Path):
    path = listed(tmp_path, "\ufeffrtsp://10.0.0.7/live\n\n 0 \nhttp://10.0.0.8/Live?a=b\r\n")
    assert [address.name for address in read_list(path)] == ["live", "camera0", "Live_2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": lists no camera or stream"),
        ("\n\n", ": lists no camera or stream"),
        (
            "0\nclip.mp4\n",
            ":2: expected the URL of a stream, /dev/videoN or the number of a camera, "
            "found 'clip.mp4'",
        ),
        (
            "ftp://me:secret@10.0.0.7/a",
            ":1: ftp://***@10.0.0.7/a: expected one of rtsp://, rtmp://, http://, https://",
        ),
        (
            "http://me:secret@10.0.0.7/a\n0\nhttp://me:secret@10.0.0.7/a",
            ":3: http://***@10.0.0.7/a is listed twice",
        ),
        ("0\n00", ":2: camera 0 is listed twice"),
        (
            "\n".join(map(str, range(257))),
            ": lists 257 cameras and streams, expected at most 256",
        ),
    ],
)
def test_lists_that_are_none(text: str, message: str, tmp_path: Path):
    path = listed(tmp_path, text)
    with pytest.raises(DetectorError) as caught:
        open_source(path, streams=StreamSettings())
    assert str(caught.value) == f"{path}{message}"


def test_a_list_of_files_names_the_other_list(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text("http://me:secret@10.0.0.7/a\n")
    with pytest.raises(DetectorError) as caught:
        list(open_source(path))
    assert str(caught.value) == (
        f"{path}:1: http://***@10.0.0.7/a: is a URL, expected a file; a list of streams is a file "
        "that ends in .streams"
    )
