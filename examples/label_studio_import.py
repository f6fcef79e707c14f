"""Make a Label Studio project of what `detect` found, for people to correct.

    detector detect --weights best.onnx --source photos/new --no-draw --save-labels labelstudio \
        --label-confidence 0.4 --output found
    pip install label-studio label-studio-sdk     # in an environment of their own
    export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
    export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=$PWD/photos     # above that of the images
    label-studio start     # http://localhost:8080: make an account, copy its token
    LABEL_STUDIO_API_KEY=… python examples/label_studio_import.py found/labelstudio photos/new

When all is corrected, export it as COCO with images; `detector train --data` opens that folder.
"""

import json
import os
import sys
from pathlib import Path

from label_studio_sdk import LabelStudio
from label_studio_sdk.label_interface import LabelInterface

URL = "/data/local-files/?d="


def main(labels: Path, images: Path) -> None:
    """Check the tasks against the labeling configuration, and send them."""
    root = Path(os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]).resolve()
    if root not in images.parents:
        sys.exit(f"{images}: Label Studio shows folders below its document root only, {root}")
    config = (labels / "config.xml").read_text(encoding="utf-8")
    tasks = json.loads((labels / "tasks.json").read_text(encoding="utf-8"))
    interface = LabelInterface(config)
    for task in tasks:
        for prediction in task["predictions"]:
            if errors := interface.validate_prediction(prediction, return_errors=True):
                sys.exit(f"{task['data']['image']}: {errors[0]}")
        name = task["data"]["image"].removeprefix(URL)  # below the folder of the images
        task["data"]["image"] = f"{URL}{images.relative_to(root).as_posix()}/{name}"
    server = os.environ.get("LABEL_STUDIO_URL", "http://localhost:8080")
    client = LabelStudio(base_url=server, api_key=os.environ["LABEL_STUDIO_API_KEY"])
    project = client.projects.create(title=images.name, label_config=config)
    client.import_storage.local.create(project=project.id, path=str(images), use_blob_urls=True)
    client.projects.import_tasks(project.id, request=tasks)
    print(f"{len(tasks)} images: {server}/projects/{project.id}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} LABELS IMAGES")
    main(*(Path(word).resolve() for word in sys.argv[1:]))
