"""What role methods are made of."""
