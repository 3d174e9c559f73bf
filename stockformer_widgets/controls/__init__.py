"""What a person chooses with: sample, map, layer, head, and changes of the model."""
