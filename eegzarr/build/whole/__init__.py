"""What a group of whole recordings holds besides tiles: its events, and what any window is decided by."""
