"""Draw detections with Roboflow's supervision: its annotators take what Predictor returns.

pip install "repdet[runtime]" supervision
python examples/supervision_annotate.py best.onnx images/ drawn/
"""

import sys
from pathlib import Path

import supervision as sv

from detector import DetectorError, Predictor
from detector.runtime.sources import open_source
from detector.utils.opencv import write_image


def main(weights: str, source: str, output: str) -> None:
    """Draw each image of a source into a folder."""
    annotators = sv.BoxAnnotator(), sv.LabelAnnotator(smart_position=True)
    predictor = Predictor(weights, confidence=0.3)
    for result in predictor.frames(open_source(source)):
        image, found = result.image_rgb.copy(), result.detections
        texts = [f"{name} {score:.2f}" for _, score, _, name in found]
        detections = found.to_supervision()
        annotators[0].annotate(image, detections)  # both draw into the copy
        annotators[1].annotate(image, detections, labels=texts)
        write_image(Path(output) / f"{result.name}.jpg", image)
        print(f"{result.name}: {', '.join(texts) or 'nothing'}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} WEIGHTS SOURCE OUTPUT")
    try:
        main(*sys.argv[1:])
    except DetectorError as error:
        sys.exit(f"error: {error}")
