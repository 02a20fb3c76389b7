"""What a group of whole recordings holds beside its tiles: events, and what windows are made from."""
