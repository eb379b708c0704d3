"""Who runs the forward pass."""
