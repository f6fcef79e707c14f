"""The page in Chromium: a picture, slider, classes, downloads, a video, the camera, both themes.

Debian's package ``chromium`` is driven by Playwright, which fetches no browser of its own here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from detector.utils.opencv import cv2, read_image

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
SECONDS = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def url(served: Callable[..., AbstractContextManager[Any]], finder_onnx: Path) -> Iterator[str]:
    with served(finder_onnx) as server:
        yield server.url


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The page, of which every request and error is kept; none may go elsewhere or fail."""
    context = browser.new_context(permissions=["camera"])
    page = context.new_page()
    page.set_default_timeout(1000 * SECONDS)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(url)
    sync_api.expect(page.locator("#model-line")).to_have_text(
        "finder: 2 classes, input 64×64, fp32", timeout=1000 * SECONDS
    )
    yield page
    context.close()
    assert errors == []
    assert [each for each in requests if not each.startswith((url, "blob:", "data:"))] == []


def status(page: Any, text: str) -> None:
    sync_api.expect(page.locator("#status")).to_have_text(text, timeout=1000 * SECONDS)


def answer(url: str, image: Path, confidence: float) -> dict[str, Any]:
    query = f"{url}/v1/detect?confidence={confidence}"
    return dict(httpx.post(query, files={"image": (image.name, image.read_bytes())}).json())


def move_slider(page: Any, value: float) -> None:
    page.locator("#confidence").fill(str(value))


def downloaded(page: Any, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.locator(button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def boxes(count: int) -> str:
    return f"{count} {'box' if count == 1 else 'boxes'}"


def test_a_picture(page: Any, url: str, finder_images: Path) -> None:
    """What is shown, listed and saved is what the server answers at the slider's confidence."""
    image = finder_images / "c.png"
    page.locator("#file").set_input_files(image)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for confidence in (0.25, 0.05, 0.9):
        move_slider(page, confidence)
        expected = answer(url, image, confidence)
        count = len(expected["images"][0]["scores"])
        status(page, boxes(count))
        assert page.locator("#rows tr").count() == count
        name, data = downloaded(page, "#save-json")
        assert (name, json.loads(data)) == ("c.json", expected)
    assert [each for each in asked if "detect" in each] == []  # the slider asks nobody
    name, data = downloaded(page, "#save-picture")
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (name, drawn.shape) == ("c_boxes.png", (64, 64, 3))


def test_classes_and_names_for_screen_readers(page: Any, url: str, finder_images: Path) -> None:
    image = finder_images / "c.png"
    page.locator("#file").set_input_files(image)
    found = answer(url, image, 0.25)["images"][0]["class_names"]
    status(page, boxes(len(found)))
    assert page.locator("#canvas").get_attribute("aria-label") == (
        f"c.png: {boxes(len(found))}: {', '.join(found[:5])}"
    )
    page.get_by_label("red", exact=True).uncheck()
    status(page, boxes(found.count("green")))
    page.get_by_label("red", exact=True).check()
    status(page, boxes(len(found)))


def test_dropped_and_wrong_files(page: Any, url: str, finder_images: Path) -> None:
    pixels = list((finder_images / "c.png").read_bytes())
    drop = """([bytes, name, type]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type }));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
    }"""
    page.evaluate(drop, [pixels, "c.png", "image/png"])
    status(page, boxes(len(answer(url, finder_images / "c.png", 0.25)["images"][0]["scores"])))
    page.evaluate(drop, [pixels, "c.txt", "text/plain"])
    status(page, "Error: that is not a picture or a video")


def test_a_video(page: Any, finder_images: Path, tmp_path: Path) -> None:
    """Frames are drawn with boxes; at the end it is said how many were asked about."""
    path = tmp_path / "two.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), 10, (64, 64))
    frame = cv2.cvtColor(read_image(finder_images / "c.png"), cv2.COLOR_RGB2BGR)
    for shift in range(20):
        writer.write(np.roll(frame, shift, axis=1))
    writer.release()
    page.locator("#file").set_input_files(path)
    sync_api.expect(page.locator("#rows tr")).not_to_have_count(0, timeout=1000 * SECONDS)
    text = page.wait_for_function(
        "() => /has ended/.test(byId('status').textContent) && byId('status').textContent"
    ).json_value()
    drawn, frames = (int(word) for word in text.split() if word.isdecimal())
    assert text == f"the video has ended: {drawn} of {frames} frames were asked about"
    assert 1 <= drawn <= frames <= 20
    assert page.locator("#canvas").get_attribute("width") == "64"


def test_the_camera(page: Any) -> None:
    """Frames in flight are bounded, and the camera is off after Stop."""
    page.locator("#camera").click()
    page.wait_for_function("() => motion.drawn >= 3 || byId('status').className")
    assert page.locator("#status").get_attribute("class") != "error"
    assert page.locator("#camera").get_attribute("aria-pressed") == "true"
    assert page.evaluate("motion.inFlight <= MAX_IN_FLIGHT")
    page.locator("#stop").click()
    status(page, "stopped")
    assert page.evaluate("byId('video').srcObject") is None
    assert page.locator("#camera").get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_in_both_themes(browser: Any, url: str, theme: str) -> None:
    """Text differs from its background by at least 4.5 : 1 (WCAG 2.2, 1.4.3)."""
    context = browser.new_context(color_scheme=theme, viewport={"width": 380, "height": 800})
    page = context.new_page()
    page.goto(url)
    style = "getComputedStyle(document.querySelector('a'))"
    link = page.evaluate(f"{style}.color")
    canvas = page.evaluate(
        "(() => { const d = document.createElement('div'); d.style.color = 'Canvas';"
        " document.body.append(d); return getComputedStyle(d).color; })()"
    )
    assert contrast(link, canvas) >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    context.close()


def contrast(first: str, second: str) -> float:
    """Return the ratio of two colours such as ``rgb(1, 2, 3)``."""
    lights = sorted(map(_luminance, (first, second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: str) -> float:
    values = [float(value) / 255 for value in color[4:-1].split(",")]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
