"""What every c2s_<step>.py shares: one clear message for a user's error, a log on stderr."""

import logging
import sys

import click

from c2sflow.errors import UserError


def run(command: click.Command) -> None:
    """Run a click command as a script; a UserError ends it with status 1 and no traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("c2sflow").setLevel(logging.INFO)
    try:
        sys.exit(command.main(standalone_mode=False))
    except UserError as error:
        sys.exit(f"error: {error}")
    except click.Abort:
        sys.exit("error: interrupted")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
