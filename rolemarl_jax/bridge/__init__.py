"""Environments that play in processes of their own, StarCraft II above all.

The learner's side may import jax. What is in `worker` runs in an interpreter of its
own with NumPy and pyzmq, and imports nothing else of this package.
"""
