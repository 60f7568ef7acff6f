"""Parameters: their schema, their types, and a word for each mistake."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from c2sflow.inputs.parameters import check_parameters, coerce, parameter_groups

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text())
ENTRIES = {name: e for group in parameter_groups(SCHEMA).values() for name, e in group.items()}


def test_schema_is_in_nf_core_form():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [entry["$ref"] for entry in SCHEMA["allOf"]] == [f"#/$defs/{g}" for g in SCHEMA["$defs"]]
    assert all(
        {"title", "description", "type"} <= group.keys() for group in SCHEMA["$defs"].values()
    )
    assert sum(len(group) for group in parameter_groups(SCHEMA).values()) == len(ENTRIES)
    for entry in ENTRIES.values():
        assert {"type", "description"} <= entry.keys()
        if "default" in entry:
            jsonschema.validate(entry["default"], entry)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("seed", "12", 12),
        ("seed", 12.0, 12),
        ("max_pct_mt", "7.5", 7.5),
        ("max_pct_mt", "1e1", 10.0),
        ("skip_qc", "false", False),
        ("skip_qc", "TRUE", True),
        ("max_batch_tokens", "4096", 4096),
        ("max_batch_tokens", "auto", "auto"),
        ("perturbations", 123, "123"),
        ("seed", "junk", "junk"),
    ],
)
def test_values_are_read_in_their_type(name, value, expected):
    read = coerce(value, ENTRIES[name])
    assert read == expected
    assert type(read) is type(expected)


def test_groups_hold_values_and_defaults():
    options, faults = check_parameters({"input": "x.h5ad", "seed": "7", "control": None}, SCHEMA)
    assert faults == []
    assert options["sentences"]["seed"] == 7
    assert options["qc"]["min_genes"] == 200
    assert options["perturbation"]["control"] is None


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"seed": -1}, "--seed -1: must be 0 or more"),
        ({"max_pct_mt": 101}, "--max_pct_mt 101: must be 100 or less"),
        ({"shard_size": 0}, "--shard_size 0: must be 1 or more"),
        ({"shard_size": "1.5"}, "--shard_size 1.5: must be auto or a whole number above 0"),
        ({"skip_qc": "maybe"}, "--skip_qc maybe: must be true or false"),
        ({"dtype": "float8"}, "--dtype float8: must be one of auto, bfloat16, float16, float32"),
        ({"max_batch_tokens": "many"}, "--max_batch_tokens many: must be auto or a whole number"),
        ({"max_batch_tokens": 0}, "--max_batch_tokens 0: must be 1 or more"),
        ({"outdir": ""}, "--outdir : must not be empty"),
        ({"label_column": True}, "--label_column needs a value: Column of obs"),
        ({"input": None}, "--input is missing: A data file"),
        ({"min_gene": 3}, "--min_gene: no such parameter; did you mean --min_genes?"),
        ({"min-genes": 3, "minGenes": 3}, "--min-genes: no such parameter; did you mean --min_gen"),
        ({"maxGenes": 3}, "--maxGenes: no such parameter; did you mean --max_genes?"),
        ({"xyzzy": 3}, "--xyzzy: no such parameter; --help_full lists the parameters"),
    ],
)
def test_each_mistake_is_one_fault(params, fault):
    _, faults = check_parameters({"input": "x.h5ad", **params}, SCHEMA)
    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize("value", [True, "", []])
def test_no_value_of_another_kind_reaches_further_checks(value):
    for name, entry in ENTRIES.items():
        options, faults = check_parameters({"input": "x.h5ad", name: value}, SCHEMA)
        kept = next(group[name] for group in options.values() if name in group)
        assert len(faults) <= 1, name
        if not faults:
            jsonschema.validate(kept, entry)
        elif "needs a value" in faults[0] or "must be text" in faults[0]:
            assert kept == entry.get("default")


def test_nextflow_declares_the_defaults_of_the_schema():
    text = (ROOT / "nextflow.config").read_text()
    for name, entry in ENTRIES.items():
        declared = rf"^(?:    |params\.){name} = (?:params\.{name} \?: )?(.+?)\s*(//.*)?$"
        value = re.search(declared, text, re.M)
        assert value, f"{name} is not in nextflow.config"
        expected = json.dumps(entry.get("default")).replace('"', "'")
        assert value[1].replace('"', "'") == expected, name
