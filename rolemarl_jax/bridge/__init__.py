"""Environments that play in processes of their own, StarCraft II above all.

The learner's side (`link`, `process`, `pool`, `collect`, ...) may import jax. The
worker's side (`launch`, `worker`, `protocol`, `adapters`) runs in an interpreter of
its own with NumPy and pyzmq, imports nothing else of this package, and never jax.
"""
