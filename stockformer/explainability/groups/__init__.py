"""Groups of windows compared."""
