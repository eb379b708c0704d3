"""Cache tensors of the torch executors."""
