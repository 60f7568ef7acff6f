"""What a task prints of its packages when its work is done."""

import platform

import numpy
from click.testing import CliRunner

from c2sflow.steps.versions import main


def test_a_package_that_is_missing_is_no_failure():
    done = CliRunner().invoke(main, ["numpy", "no-such-package"])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"python: {platform.python_version()}",
        f"numpy: {numpy.__version__}",
        "no-such-package: not installed",
    ]
