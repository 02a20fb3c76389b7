"""Windows for training: selections, orders, streams and splits. Needs torch alone."""
