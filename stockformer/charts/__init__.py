"""Charts as values, and their drawing by matplotlib."""
