"""Export to PyTorch's exported programs (``.pt2``), and a safe reader of them."""
