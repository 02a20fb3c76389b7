"""What a window is, and how events become windows: pure functions."""
