"""Writers of label files, one format a file: YOLO txt, COCO, VOC, CSV, Label Studio, CVAT."""
