"""Episodes of stored runs, as pages and films show them."""
