"""Maths on arrays: no networks, no state.

Public functions refuse arguments of another rank, shape or kind of number than their
docstrings name: an ``AssertionError`` while tracing, and nothing in the compiled
program. Floats may have any precision.
"""
