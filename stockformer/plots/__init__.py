"""Charts by the names of functions that plot them, in matplotlib."""
