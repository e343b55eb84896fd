"""Collecting experience, keeping it, and judging a policy by what it plays."""
