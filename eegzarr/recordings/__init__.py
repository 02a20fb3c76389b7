"""What a recording holds: its header, its signals, and how they are prepared."""
