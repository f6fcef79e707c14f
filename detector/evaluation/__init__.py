"""Evaluation: COCO AP by pycocotools, Pascal VOC AP, accuracy, curves."""
