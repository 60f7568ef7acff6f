"""nextflow_schema.json by the rules of nf-schema, so that launch forms show what it says.

They are those of nf-schema's specification and of its meta-schema (2020-12), in words of our own.
"""

import json
import re
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[3]
TYPES = {"string", "boolean", "integer", "number"}
FORMATS = {"path", "file-path", "directory-path"}  # of those that forms know, ours
# What nf-schema's meta-schema knows; and what only c2sflow reads, and a form passes over.
KEYWORDS = {
    "type", "format", "pattern", "description", "default", "minLength", "minimum",
    "exclusiveMinimum", "maximum", "enum", "errorMessage", "schema", "help_text", "hidden",
}  # fmt: skip
OWN_KEYWORDS = {"advice", "steps", "names_file"}
LIMITS = {"minimum", "maximum", "exclusiveMinimum"}

SCHEMA = json.loads((ROOT / "nextflow_schema.json").read_text(encoding="utf-8"))
GROUPS = SCHEMA["$defs"]
PARAMETERS = [
    pytest.param(name, entry, id=name)
    for group in GROUPS.values()
    for name, entry in group["properties"].items()
]


def test_the_whole():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["type"] == "object"
    assert SCHEMA["$id"]
    assert SCHEMA["title"]
    assert SCHEMA["description"]
    # A form shows the groups that allOf names, in that order: each once.
    assert SCHEMA["allOf"] == [{"$ref": f"#/$defs/{name}"} for name in GROUPS]
    names = [parameter.id for parameter in PARAMETERS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", GROUPS)
def test_group(name):
    group = GROUPS[name]
    known = {"title", "type", "description", "fa_icon", "properties", "required"}
    assert group.keys() <= known
    assert group["type"] == "object"
    assert group["title"]
    assert group["description"].endswith(".")
    assert re.fullmatch(r"fa[a-z] fa-[a-z-]+", group["fa_icon"])
    assert set(group.get("required", [])) <= set(group["properties"])


@pytest.mark.parametrize(("name", "entry"), PARAMETERS)
def test_parameter(name, entry):
    assert re.fullmatch("[a-z][a-z0-9_]*", name)  # the name of an option, and of a field
    assert entry.keys() <= KEYWORDS | OWN_KEYWORDS
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    assert set(kinds) <= TYPES
    assert entry["description"]
    assert entry.get("format", "path") in FORMATS
    assert not {"format", "pattern", "minLength", "schema"} & entry.keys() or "string" in kinds
    assert not LIMITS & entry.keys() or {"integer", "number"} & set(kinds)
    if "schema" in entry:
        assert entry["format"] in ("path", "file-path")
        assert (ROOT / entry["schema"]).is_file()
    if "pattern" in entry:
        re.compile(entry["pattern"])
        assert entry["errorMessage"]  # a form shows it instead of the expression
    # What a form fills in is what it accepts.
    if "default" in entry:
        jsonschema.validate(entry["default"], entry)
    assert len(set(map(str, entry.get("enum", [])))) == len(entry.get("enum", []))
