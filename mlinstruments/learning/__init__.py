"""Cross-fitting: arrays in, out-of-fold predictions out; knows nothing of outcomes or tests."""
