"""Draw the boxes of an exported ONNX file with onnxruntime alone, without this package.

    python examples/plain_onnxruntime.py best.onnx bus.jpg drawn.jpg

It takes files of ``detector export --nms`` for one image at a time; others are refused.
"""

import json
import os
import sys

import cv2
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: it looks a server up otherwise
import onnxruntime

if len(sys.argv) != 4:
    sys.exit(f"usage: {sys.argv[0]} WEIGHTS IMAGE DRAWN")
weights, source, drawn = sys.argv[1:]
try:
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
except Exception as error:  # its exceptions have no common base class
    sys.exit(f"{weights}: {str(error).splitlines()[0]}")
about = json.loads(session.get_modelmeta().custom_metadata_map.get("detector", "{}"))
if not about.get("nms") or session.get_inputs()[0].shape[0] not in (1, "batch"):
    sys.exit(f"{weights}: expected a file of `detector export --nms` for one image at a time")
image = cv2.imread(source)
if image is None:
    sys.exit(f"{source}: not an image")

how = about["preprocess"]
(height, width), (full_h, full_w) = image.shape[:2], how["size_hw"]
new_h, new_w, top, left = full_h, full_w, 0, 0
if how["mode"] == "letterbox":  # otherwise the image is stretched; a file with boxes never crops
    ratio = min(full_h / height, full_w / width)
    whole = round if how["rounding"] == "nearest" else int
    new_h, new_w = max(whole(height * ratio), 1), max(whole(width * ratio), 1)
    if how["padding"] == "around":
        top, left = (full_h - new_h) // 2, (full_w - new_w) // 2
canvas = np.full((full_h, full_w, 3), how["pad_value"], np.uint8)
canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
pixels = (canvas[..., ::-1] - np.float32(how["mean_rgb"])) / np.float32(how["scale_rgb"])
planes = pixels.transpose(2, 0, 1)[:: 1 if how["channel_order"] == "rgb" else -1]
outputs = session.run(
    ["boxes_xyxy", "scores", "class_ids"], {"images": np.ascontiguousarray(planes[None])}
)

offset, scale = np.array([left, top] * 2), np.array([new_w / width, new_h / height] * 2)
for box, score, class_id in zip(*(output[0] for output in outputs), strict=True):
    if class_id >= 0:  # rows without a box fill the output
        corners = np.float32(np.clip((box - offset) / scale, 0, [width, height] * 2))
        name, (x1, y1, x2, y2) = about["names"][class_id], corners.round().astype(int).tolist()
        cv2.rectangle(image, (x1, y1), (x2, y2), (0, 0, 255), 2)
        cv2.putText(image, f"{name} {score:.2f}", (x1, max(y1 - 4, 12)), 0, 0.5, (0, 0, 255), 1)
        box_xyxy = [round(float(corner), 3) for corner in corners]
        print(json.dumps({"name": name, "score": round(float(score), 6), "box_xyxy": box_xyxy}))
cv2.imwrite(drawn, image)
