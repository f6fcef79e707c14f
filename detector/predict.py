"""Prediction: a weights file and a source in, detections out.

The file's suffix decides what runs it. PyTorch is imported only for files that need it, so that
an ONNX file runs where torch is not installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.pipeline import Pipeline, Prediction, Result, Timing
from detector.runtime.sources import Frame, frame_of, frames_of, open_source
from detector.runtime.tracking.regions import Region
from detector.runtime.tracking.tracker import check_tracking, nms_for_tracking
from detector.runtime.tracking.tracking import TrackedResult, Tracking, as_video
from detector.runtime.video import IncompleteVideoError
from detector.settings.common import PredictorSettings, RuntimeSettings, TileSettings
from detector.settings.nms import NmsOptions, NmsSettings, class_numbers
from detector.settings.streams import StreamSettings
from detector.settings.track import TrackerName, TrackSettings
from detector.settings.values import Letterbox, Mode, RunPrecision
from detector.structures.images import ImageLike
from detector.structures.preprocess import divisible_size, imgsz_text, size_of_imgsz
from detector.utils import system
from detector.utils.errors import DetectorError, shown
from detector.utils.files import is_file, missing_weights, refuse_special
from detector.utils.keywords import check_keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from detector.model.detector import Detector

logger = logging.getLogger(__name__)


class Predictor:
    """Detects objects in images, folders and videos, or classifies them, as the weights decide.

    A Predictor of a file can be pickled, for other processes say: they open the file again.

    Args:
        weights: ``.safetensors``, ``.onnx``, ``.xml``, ``.pt2``, a foreign ``.pt``, or
            a built Detector.
        settings: which boxes remain, or a function that makes them of the class names; the defaults
            suit looking at pictures, not measuring AP.
        batch: images per forward pass; a file that fixes the number decides itself.
        device: ``auto``, ``cpu``, ``cuda``, …
        imgsz: side of the square input, or height and width, where the file allows another than
            its own.
        letterbox: ``rectangle`` pads to the network's stride only, where the file allows it.
        threads: compute threads; default: one a core.
        mode: ``latency``, all threads on one batch, or ``throughput``, each on its own.
        nms: the fields of :class:`NmsSettings` as keywords, beside ``settings`` or without:
            ``confidence``, ``iou``, ``max_detections``, … ``classes`` may be given by name.
        tiles: side of the overlapping squares that larger images are cut into, pixels, for small
            objects in large images; see docs/tiles.md.
        tile_overlap: least share of a tile's side that neighbours have in common.
        tile_whole: use the whole image, too, for objects larger than the overlap.
        tta: test-time augmentation: find boxes in several views of each image, and merge them.
        tta_scales: scales of the views, as parts of the network's input.
        tta_flip: show each view flipped left to right, too.

    Raises:
        DetectorError: there is no such file, or a value does not fit it; a misspelt keyword or
            class, with the nearest name.

    Example:
        >>> predictor = Predictor("best.safetensors", confidence=0.4)  # doctest: +SKIP
        >>> detections = predictor.predict("bus.jpg")  # doctest: +SKIP
        >>> for detections in predictor("images/"):  # doctest: +SKIP
        ...     print(detections.boxes_xyxy, detections.scores)
    """

    def __init__(  # noqa: PLR0913 (settings of a run, each known by its name)
        self,
        weights: str | Path | Detector,
        settings: NmsSettings | Callable[[tuple[str, ...]], NmsSettings] | None = None,
        *,
        batch: int = 1,
        device: str = "auto",
        imgsz: int | tuple[int, int] | None = None,
        letterbox: Letterbox = "square",
        threads: int | None = None,
        precision: RunPrecision = "auto",
        mode: Mode = "latency",
        tiles: int | None = None,
        tile_overlap: float = 0.2,
        tile_whole: bool = True,
        tta: bool = False,
        tta_scales: Sequence[float] = (1.0,),
        tta_flip: bool = True,
        **nms: Unpack[NmsOptions],
    ) -> None:
        known = (*PredictorSettings.model_fields, *NmsSettings.model_fields, "settings")
        check_keywords(nms, known)
        self._weights = weights
        self._runtime = PredictorSettings(
            batch=batch,
            device=device,
            imgsz=imgsz,
            letterbox=letterbox,
            threads=threads,
            precision=precision,
            mode=mode,
            tiles=tiles,
            tile_overlap=tile_overlap,
            tile_whole=tile_whole,
            tta=tta,
            tta_scales=tuple(tta_scales),
            tta_flip=tta_flip,
        )
        self.backend = open_backend(weights, self._runtime)
        say_tiles(weights, self._runtime)
        given = settings(self.backend.names) if callable(settings) else settings
        self.settings = nms_settings(given, dict(nms), self.backend)
        if isinstance(self.backend, ExportedBackend):
            self.backend.check_settings(self.settings)
        parallel = parallel_batches(self._runtime)
        self._pipeline = Pipeline(
            self.backend, self.settings, self._runtime.batch, parallel, self._runtime
        )

    def __reduce__(self) -> tuple[Callable[[], Predictor], tuple[()]]:
        """Pickle the path and the settings; the file is opened anew where it is unpickled."""
        if not isinstance(self._weights, (str, Path)):
            raise DetectorError(
                "a Predictor of a model in memory cannot be pickled; save the model, and open its "
                "file"
            )
        path, runtime = Path(self._weights).absolute(), self._runtime.model_dump()
        return partial(type(self), path, self.settings, **runtime), ()

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the model."""
        return self.backend.names

    @property
    def timing(self) -> Timing:
        """Timing by phase of everything predicted so far."""
        return self._pipeline.timing

    @overload
    def predict(
        self, images: list[ImageLike] | tuple[ImageLike, ...], *, bgr: bool = False
    ) -> list[Prediction]: ...

    @overload
    def predict(self, images: ImageLike, *, bgr: bool = False) -> Prediction: ...

    def predict(self, images: Any, *, bgr: bool = False) -> Prediction | list[Prediction]:
        """Predict for one image, or for each of a list, at once.

        Args:
            images: a path, the bytes of an image file, a Pillow image, a numpy array (h, w, 3) or
                grey (h, w) uint8, a torch tensor (3, h, w) uint8 or in 0..1; or a list of these,
                of any sizes, which goes through the network in batches.
            bgr: arrays are in OpenCV's order, blue first, not RGB. Other forms say it themselves.

        Returns:
            Detections, or the Classification; a list of them for a list.

        Raises:
            DetectorError: one is no image; says which.
        """
        if isinstance(images, (list, tuple)):
            return [result.prediction for result in self.frames(frames_of(images, bgr=bgr))]
        (result,) = self.frames([frame_of(images, bgr=bgr)])
        return result.prediction

    def __call__(
        self, source: ImageLike | list[ImageLike] | tuple[ImageLike, ...]
    ) -> Iterator[Prediction]:
        """Yield the prediction for each image of a source, in order, as they are asked for.

        A source is a file, folder, glob pattern, video or stream, or what :meth:`predict` takes.
        Cameras and streams are kept alive with the defaults of :meth:`stream`.
        """
        if isinstance(source, (str, Path)):
            frames: Iterable[Frame] = open_source(source, streams=StreamSettings())
        elif isinstance(source, (list, tuple)):
            frames = frames_of(source)
        else:
            frames = [frame_of(source)]
        for result in self.frames(frames):
            yield result.prediction

    def stream(
        self,
        source: str | Path,
        *,
        vid_stride: int = 1,
        latest: bool = False,
        give_up: float = 60.0,
    ) -> Iterator[Result]:
        """Yield the results of a video, camera, stream or list of streams, as they come.

        Each has its image, and the camera's name and times: ``result.frame.time``. A connection
        that is lost is made anew, and said as a warning of the logger ``detector``. Closing the
        iterator closes the connections. See docs/streams.md.

        Args:
            source: a file or URL, as for a call of the Predictor; ``door.streams`` is a list.
            vid_stride: use every Nth frame.
            latest: drop frames of cameras and streams that come too fast, instead of waiting;
                ``result.frame.dropped`` is their number.
            give_up: seconds without a frame from any camera before the error.

        Raises:
            DetectorError: no frame has come for ``give_up`` seconds, or a video is incomplete;
                after the last result.
        """
        settings = StreamSettings(vid_stride=vid_stride, latest=latest, give_up=give_up)
        incomplete: list[DetectorError] = []

        def note(error: DetectorError) -> None:
            if not isinstance(error, IncompleteVideoError):
                raise error
            incomplete.append(error)

        yield from self.frames(open_source(source, note, streams=settings))
        if incomplete:
            raise incomplete[0]

    def frames(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Yield the prediction for each frame, together with its image and name."""
        return self._pipeline(frames)

    def track(
        self,
        source: str | Path | Iterable[Frame],
        tracker: TrackerName = "bytetrack",
        *,
        trail: int = 30,
        count: Sequence[str] = (),
        fps: float | None = None,
    ) -> Iterator[TrackedResult]:
        """Yield the boxes of objects that are followed through a video, frame by frame.

        Boxes from the confidence of this Predictor on begin a track; see docs/tracks.md.

        Args:
            source: a video or stream, or several videos, whose ids all begin at 1.
            tracker: ``bytetrack``, ``ocsort`` or ``botsort``.
            trail: largest number of points of a drawn trail.
            count: lines and zones over which objects are counted, as ``line:x1,y1,x2,y2`` and
                ``zone:x1,y1,x2,y2,x3,y3,…``, pixels of the frames.
            fps: images of the source are the frames of one video, that many a second.

        Raises:
            DetectorError: the source is no video, the network cannot track, or the extra
                ``track`` is not installed.

        Example:
            >>> for result in predictor.track("clip.mp4"):  # doctest: +SKIP
            ...     print(result.detections.track_ids, result.detections.boxes_xyxy)
        """
        settings = TrackSettings(track=tracker, trail=trail, count=tuple(count) or None, fps=fps)
        frames: Iterable[Frame] = (
            open_source(source, streams=StreamSettings())
            if isinstance(source, (str, Path))
            else source
        )
        return self.tracking(settings)(self.frames_to_track(frames, settings))

    def tracking(self, settings: TrackSettings) -> Tracking:
        """Return what gives ids to the results of :meth:`frames_to_track`.

        Raises:
            DetectorError: the network cannot track, or the extra ``track`` is not installed.
        """
        assert settings.track is not None
        check_tracking(self.backend, settings.track)
        regions = [Region.parse(text) for text in settings.count or ()]
        return Tracking(settings.track, self.settings.confidence, settings.trail, regions)

    def frames_to_track(self, frames: Iterable[Frame], settings: TrackSettings) -> Iterator[Result]:
        """Yield the prediction for each frame, with the low scores that continue tracks."""
        assert settings.track is not None
        frames = frames if settings.fps is None else as_video(frames, settings.fps)
        nms = nms_for_tracking(settings.track, self.settings)
        return self._pipeline.with_settings(nms)(frames)


def nms_settings(given: Any, nms: dict[str, Any], backend: Backend) -> NmsSettings:
    """Complete NMS settings by keyword arguments.

    Raises:
        DetectorError: a value is given twice, or means nothing to the network.
    """
    given = NmsSettings() if given is None else given
    if not isinstance(given, NmsSettings):
        raise DetectorError(f"settings: expected NmsSettings, found {shown(given)}")
    for name in sorted(given.model_fields_set & nms.keys()):
        raise DetectorError(
            f"{name} is given twice: {shown(getattr(given, name))} in settings, "
            f"{shown(nms[name])} as a keyword"
        )
    if nms.get("classes") is not None:
        nms["classes"] = class_numbers(nms["classes"], backend.names)
    settings = NmsSettings(**{**given.model_dump(exclude_unset=True), **nms})
    if nms and backend.task == "classify":
        raise DetectorError(f"a classifier has no boxes, found {', '.join(nms)}")
    if isinstance(backend, ExportedBackend):
        for name in sorted(backend.ignored_settings(settings) & nms.keys()):
            own = getattr(backend.metadata.nms, name)
            raise backend.error(f"holds its NMS with {name} {own}, found {name} {nms[name]}")
    return settings


def open_backend(weights: str | Path | Detector, runtime: RuntimeSettings | None = None) -> Backend:
    """Open the backend that runs a file, chosen by its suffix.

    Raises:
        DetectorError: no such file, no such format, a size that the file does not take.
    """
    runtime = runtime or RuntimeSettings()
    if not isinstance(weights, (str, Path)):
        if not hasattr(weights, "preprocess"):
            found = type(weights).__name__
            raise DetectorError(f"weights: expected a file or a built Detector, found {found}")
        return _torch_backend(weights, runtime)
    path = Path(weights)
    if not is_file(path):
        raise _missing(path)
    if path.suffix.lower() in (".onnx", ".xml"):
        return _fitted(_torch_free(path, runtime), runtime)
    if path.suffix.lower() == ".pt2":
        from detector.export.pt2.backend import Pt2Backend
        from detector.model.torch_backend import choose_device, use_threads

        _check_arithmetic(path, runtime, "a pt2 file")
        use_threads(threads_of(runtime))
        return _fitted(Pt2Backend(path, choose_device(runtime.device)), runtime)
    from detector.weights.checkpoint import load

    return _torch_backend(load(path), runtime)


def say_tiles(weights: str | Path | Detector, tiling: TileSettings) -> None:
    """Say that weights were trained on tiles, where the images of this run are not cut into any."""
    if tiling.tiles is not None or not isinstance(weights, (str, Path)):
        return
    if Path(weights).suffix.lower() != ".safetensors":  # other files do not hold how it was trained
        return
    from detector.weights.checkpoint import read_metadata

    settings = read_metadata(weights).training.get("settings")
    tiles = settings.get("tiles") if isinstance(settings, dict) else None
    if isinstance(tiles, int):
        logger.info(
            "%s: trained on tiles of %d px; without --tiles it sees whole images", weights, tiles
        )


def parallel_batches(runtime: RuntimeSettings) -> int:
    """Return how many batches the network works on at the same time."""
    return 1 if runtime.mode == "latency" else runtime.threads or available_threads()


def threads_of(runtime: RuntimeSettings) -> int | None:
    """Return the number of threads per batch; None where it was not set."""
    return runtime.threads if runtime.mode == "latency" else 1


def available_threads() -> int:
    """Return ``OMP_NUM_THREADS``, which torchrun sets, else the cores this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said):
        return int(said)
    return system.available_cores()


def _torch_free(path: Path, runtime: RuntimeSettings) -> ExportedBackend:
    # ONNX Runtime's GPU build names devices that may not be there: only a flag asks for one.
    device = "cpu" if runtime.device == "auto" else runtime.device
    if path.suffix.lower() == ".xml":
        from detector.runtime.backends.openvino import OpenVinoBackend

        threads = runtime.threads or available_threads()
        streams = parallel_batches(runtime)
        backend = OpenVinoBackend(path, threads, device, streams, runtime.precision)
        _say_arithmetic(backend)
        return backend
    from detector.runtime.backends.onnx import OnnxBackend

    _check_arithmetic(path, runtime, "ONNX Runtime")
    return OnnxBackend(path, threads_of(runtime) or available_threads(), device)


def _say_arithmetic(backend: ExportedBackend) -> None:
    """Say which precision a file is run in, where that is not fp32 or not as it was exported."""
    certified, found = backend.metadata.arithmetic, backend.arithmetic
    if found != certified:
        reason = f"it is certified for {certified}"
    elif found != "fp32":
        reason = "for which it is certified"
    else:
        return
    logger.info("%s: computes in %s, %s", backend.path, found, reason)


def _check_arithmetic(path: Path, runtime: RuntimeSettings, what: str) -> None:
    if runtime.precision not in ("auto", "fp32"):
        raise DetectorError(
            f"--precision {runtime.precision}: {what} computes in fp32; export with "
            "--format openvino, or run the weights themselves",
            file=path,
        )


def _missing(path: Path) -> DetectorError:
    """Return an error that names what is there instead, or the nearest name beside it."""
    if path.is_dir():
        return DetectorError("is a folder, expected a weights file", file=path)
    refuse_special(path, "a weights file")
    return missing_weights(path)


def _torch_backend(model: Detector, runtime: RuntimeSettings) -> Backend:
    from detector.model.torch_backend import TorchBackend, choose_device, use_threads

    use_threads(threads_of(runtime))
    preprocess = model.preprocess
    if runtime.imgsz is not None:
        preprocess = preprocess.with_size(model.size_of(runtime.imgsz))
    if runtime.letterbox == "rectangle":
        preprocess = preprocess.with_rectangle(model.max_stride)
    return TorchBackend(model, choose_device(runtime.device), preprocess, runtime.precision)


def _fitted(backend: Any, runtime: RuntimeSettings) -> Backend:
    """Set another input size on a backend whose file was exported for that."""
    wanted = None if runtime.imgsz is None else size_of_imgsz(runtime.imgsz)
    if wanted is not None and wanted != backend.preprocess.size_hw:
        _check_dynamic(backend, f"found imgsz {imgsz_text(wanted)}")
        size_hw = divisible_size(wanted, backend.stride)
        backend.preprocess = backend.preprocess.with_size(size_hw)
    if runtime.letterbox == "rectangle":
        preprocess = backend.preprocess.with_rectangle(backend.stride)
        _check_dynamic(backend, "found letterbox rectangle")
        backend.preprocess = preprocess
    return backend  # type: ignore[no-any-return]


def _check_dynamic(backend: Any, found: str) -> None:
    if not backend.dynamic_size:
        height, width = backend.preprocess.size_hw
        raise DetectorError(
            f"takes inputs of {height}×{width} only, {found}; export with --dynamic",
            file=backend.path,
        )
