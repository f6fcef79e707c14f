"""Import predictions into FiftyOne, with their scores, and open its app.

pip install fiftyone     # in an environment of its own: it brings a database, MongoDB
detector detect --weights best.onnx --source images/ --no-draw --save-labels coco --output found
python examples/fiftyone_import.py images/ found/coco/annotations.json
"""

import os
import sys
from typing import Any

os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"  # before the import: it reports its use otherwise
import fiftyone as fo
from fiftyone.utils.coco import COCODetectionDatasetImporter


def importer(images: str, annotations: str) -> Any:
    """Return FiftyOne's reader of COCO JSON; `score` becomes the confidence of a detection."""
    return COCODetectionDatasetImporter(data_path=images, labels_path=annotations)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} IMAGES ANNOTATIONS")
    dataset = fo.Dataset()
    dataset.add_importer(importer(*sys.argv[1:]), label_field="predictions")
    print(dataset)
    fo.launch_app(dataset).wait()
