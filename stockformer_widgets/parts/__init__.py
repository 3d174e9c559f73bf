"""What views are built of, and know nothing of."""
