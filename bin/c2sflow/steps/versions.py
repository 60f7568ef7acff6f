"""Print the versions of Python and of packages as YAML."""

import platform
from importlib.metadata import PackageNotFoundError, version

import click


@click.command(help=__doc__)
@click.argument("packages", nargs=-1)
def main(packages):
    """Parse and print."""
    click.echo(f"python: {platform.python_version()}")
    for name in packages:
        click.echo(f"{name}: {_version(name)}")


def _version(name: str) -> str:
    """A package that the task did without is no failure when its work is done."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
