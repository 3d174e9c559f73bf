"""Reports: explanations written to files."""
