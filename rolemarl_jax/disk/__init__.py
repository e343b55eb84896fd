"""What lies on disk: the run directory, checkpoints, whole files."""
