"""Random augmentation of training examples: for YOLO heads, SSD and classifiers."""
