"""Worlds that play in processes of their own, as the bridge's workers need them."""
