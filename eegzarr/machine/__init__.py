"""The machine: its memory, and what only some systems have."""
