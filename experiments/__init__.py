"""Command lines. Importing this package, or its `cli`, does not import jax."""
