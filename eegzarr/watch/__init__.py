"""Listeners: what shows, logs or stores the events of long work."""
