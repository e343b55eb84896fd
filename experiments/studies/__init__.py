"""Studies: runs that belong into one table."""
