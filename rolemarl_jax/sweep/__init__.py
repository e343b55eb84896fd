"""Seeds that do not fit at once: planned, in chunks, over several processes."""
