"""tests/**/*.nf.test: each module and the pipeline with nf-test, where that is installed.

Without the stubs of the modules, which test_flow runs all together; `make test-nf` has them, too.
"""

import os
import shutil
import subprocess

import pytest
from driving import ROOT

pytestmark = pytest.mark.pipeline


def test_nf_test(nextflow, warm):
    if not shutil.which("nf-test"):
        pytest.skip("no nf-test on PATH (https://www.nf-test.com): tests/**/*.nf.test did not run")
    done = subprocess.run(
        ["nf-test", "test", "--ci", "--tag", "real"],
        cwd=ROOT,
        env={**os.environ, **warm, "PATH": nextflow.env["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
