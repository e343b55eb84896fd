"""The host loop of a run."""
