"""Pac-Men with dots in the bottom room only (EOI, appendix A.4)."""

from envs.pac_men import Config, image, make, pack, text, unpack

__all__ = ["Config", "image", "make", "pack", "text", "unpack"]
