"""`python -m landscape_cli`."""

from landscape_cli.cli.main import run

run()
