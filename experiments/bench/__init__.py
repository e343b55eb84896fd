"""Measurements of this project's speed and memory, by suite."""
