"""Windows decoded into batches by threads."""
