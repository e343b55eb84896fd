"""The foreign interpreter's side: one world, one connection, one request at a time.

Everything here runs with NumPy and pyzmq alone, imports nothing of this package but
this folder, and never jax; ``process``, which starts workers, needs the standard
library only.
"""
