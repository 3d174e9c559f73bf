"""What the numbers of a picture mean, in sentences."""
