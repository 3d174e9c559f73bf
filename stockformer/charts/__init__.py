"""What every picture shows, as values, and how matplotlib draws them."""
