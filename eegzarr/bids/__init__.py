"""What a BIDS dataset holds: recordings, events, tables, wherever its files are."""
