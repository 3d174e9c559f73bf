"""Functions that draw the charts in matplotlib."""
