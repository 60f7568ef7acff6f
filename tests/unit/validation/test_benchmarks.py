"""What --export and --benchmark need is asked for before anything runs."""

import pytest
from steps_in_process import SCHEMA

from c2sflow.common.errors import Faults
from c2sflow.inputs.parameters import check_parameters
from c2sflow.validation.benchmarks import check_benchmarks

SAMPLES = [{"sample": "a", "input_state": "counts"}, {"sample": "b", "input_state": "normalized"}]


def faults_of(samples=SAMPLES, **params):
    """The faults of a run with these parameters."""
    groups, wrong = check_parameters({"input": "x.h5ad", **params}, SCHEMA)
    flat = {name: value for group in groups.values() for name, value in group.items()}
    faults = Faults(wrong)
    check_benchmarks(flat, samples, faults)
    return list(faults)


def test_nothing_is_wrong_with_what_the_tools_can_take():
    asked = {"perturbations": "IFN", "control": "a == 1", "measured_column": "treatment"}
    everything = "cell_eval, vcc2026,cz_benchmarks,scperturbench"
    assert faults_of(SAMPLES[:1], export=everything, **asked) == []
    assert faults_of(export="cell_eval", perturbations="IFN") == []
    assert faults_of(SAMPLES[:1], benchmark=True, **asked) == []
    assert faults_of() == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"benchmark": True, "evaluate": False, "perturbations": "IFN"},
            "--benchmark: is part of the evaluation; leave out --evaluate false",
        ),
        (
            {"benchmark": True, "perturbations": "IFN"},
            "--benchmark: needs measured cells; name their column with --measured_column",
        ),
        (
            {"benchmark": True, "perturbations": "IFN", "measured_column": "treatment"},
            "--benchmark: needs raw counts, but the values of sample b are normalized; give a file",
        ),
        ({"export": "celleval"}, "--export celleval: must be of cell_eval, vcc2026, cz_benchmarks"),
        ({"export": "cell_eval"}, "--export cell_eval: nothing is predicted; name --perturbations"),
        (
            {"export": "cell_eval", "perturbation_column": "drug"},
            "--export cell_eval: with --perturbation_column alone each cell is predicted under its",
        ),
        (
            {"export": "cell_eval,cz_benchmarks", "perturbations": "IFN"},
            "--export cz_benchmarks: needs measured cells; name their column with --measured_",
        ),
        (
            {"export": "vcc2026", "perturbations": "IFN"},
            "--export vcc2026: needs raw counts, but the values of sample b are normalized; give a",
        ),
    ],
)
def test_faults(params, message):
    assert any(fault.startswith(message) for fault in faults_of(**params))
