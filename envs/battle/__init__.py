"""What the SMAX-like battle environments share."""
