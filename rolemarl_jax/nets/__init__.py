"""flax.linen modules over time-major sequences."""
