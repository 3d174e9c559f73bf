"""Sessions, their explanations, selections, and how changes of them are announced."""
