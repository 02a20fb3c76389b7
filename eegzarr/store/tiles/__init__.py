"""Windows that are cut from tiles of whole recordings: gathered from them when they are read."""
