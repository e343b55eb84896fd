"""Maths on arrays: no networks, no state."""
