"""Random changes of training examples, for boxes, SSD and classifiers."""
