"""`python -m esssim.cli`: as `python -m esssim`."""

from esssim.cli import main

main()
