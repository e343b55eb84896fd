"""Pac-Men with dots in the bottom room only (EOI, appendix A.4)."""

from envs.pac_men import Config, film, image, make, pack, sketch, text, unpack

__all__ = ["Config", "film", "image", "make", "pack", "sketch", "text", "unpack"]
