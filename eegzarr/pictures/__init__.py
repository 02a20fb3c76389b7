"""Pictures of a lake: functions that take windows and return the axes that they drew on.

Signals are read once, a block of windows at a time (`eegzarr.pictures.passes`), so that a
picture of a lake of any size takes the memory of one block.
"""
