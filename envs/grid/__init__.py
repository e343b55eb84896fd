"""What the grid worlds share."""
