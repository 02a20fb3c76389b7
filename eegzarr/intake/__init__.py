"""From the field's other tools and from caches of windows into a lake, a part at a time."""
