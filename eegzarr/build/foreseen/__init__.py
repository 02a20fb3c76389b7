"""What a build would make of a recipe, and why not more: for people."""
