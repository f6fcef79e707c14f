"""INT8: calibration on annotated images, quantisers, sensitivity of blocks, and the gate on AP."""
