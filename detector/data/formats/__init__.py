"""Label formats: YOLO txt, COCO JSON, Pascal VOC XML. Each gives the same rows."""
