"""Label formats, a reader a file: YOLO txt, COCO JSON, Pascal VOC XML, classes of whole images."""
