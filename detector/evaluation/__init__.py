"""How good a model is, by the library that defines the metric."""
