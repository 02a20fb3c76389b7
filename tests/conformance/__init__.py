"""Whether eegzarr reads what others read: a table of inputs, and random recordings."""
