"""`python -m landscape_cli`, and the console script."""

import sys


def run() -> None:
    """Run the command; Ctrl-C while it is still being imported is as quiet as later."""
    try:
        from landscape_cli.cli.main import run as command

        command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
