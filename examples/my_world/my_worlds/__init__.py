"""Worlds of this project, by module."""
