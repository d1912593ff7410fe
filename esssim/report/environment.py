"""Where numbers were made, as reports say it."""

from esssim._environment import environment

__all__ = ["environment"]
