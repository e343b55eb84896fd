"""Role-based multi-agent reinforcement learning, compiled end to end."""

__version__ = "0.1.0"
