"""Supervision: workers are started, spoken to, watched and replaced."""
