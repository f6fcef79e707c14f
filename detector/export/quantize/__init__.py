"""INT8: calibration on labelled images, quantisers, sensitivity of blocks, and the gate on AP."""
