"""`python -m esssim`: the command line."""

from esssim.cli import main

main()
