"""Lakes: what they look like, and how they are built, opened and checked."""
