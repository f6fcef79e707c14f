"""EvaluationSet images: definitions, readers, the check before training, transforms, the loader."""
