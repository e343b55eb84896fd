"""From a command line to one checked configuration, before jax is imported."""
