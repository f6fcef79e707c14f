"""Label formats, one reader per file: YOLO txt, COCO JSON, Pascal VOC XML, whole-image classes."""
