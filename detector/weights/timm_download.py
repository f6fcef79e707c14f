"""Download of a timm backbone's weights from the Hugging Face hub, only where a flag asks for it.

No access token is sent, and the hub client's usage reports are off.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from detector.layers.timm_backbone import Published, import_timm
from detector.model.detector import Detector
from detector.utils.errors import DetectorError, one_line
from detector.weights.interop.timm import find_timm_backbone

logger = logging.getLogger(__name__)

FILE = "model.safetensors"
"""Name of the weights in timm's repositories on the hub; it holds no code."""


def download_timm_weights(model: Detector) -> Path:
    """Fetch the weights of a network's timm backbone, and say what comes from where.

    The file is kept in the hub client's cache, and taken from there the next time.

    Raises:
        DetectorError: the backbone is not one of timm's, has no published weights, or the server
            does not answer.
    """
    found = find_timm_backbone(model)
    if found is None:
        raise DetectorError(
            "--download: fetches the weights of a timm backbone, and this model file has none; "
            "expected --backbone-weights FILE"
        )
    name, published = found[1].model, found[1].published
    if published.repository is None:
        raise DetectorError(f"--download: timm knows no published weights of {name}")
    import_timm()
    hub = import_module("huggingface_hub")
    url = hub.hf_hub_url(published.repository, FILE)
    try:
        path = _fetch(hub, url, published)
    except Exception as error:  # of the client or of any library below it
        raise DetectorError(f"cannot be downloaded: {one_line(error)}", file=url) from error
    logger.info(f"weights of {name}: {path}")
    return path


def _fetch(hub: Any, url: str, published: Published) -> Path:
    about = hub.get_hf_file_metadata(url, token=False)
    size = "of unknown size" if about.size is None else f"{about.size / 1e6:.1f} MB"
    logger.info(
        f"downloading {url} ({size}, revision {about.commit_hash}, licence of the weights "
        f"according to timm: {published.licence or 'not given'})"
    )
    revision = about.commit_hash
    return Path(hub.hf_hub_download(published.repository, FILE, revision=revision, token=False))
