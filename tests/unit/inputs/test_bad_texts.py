"""Text files of every malformed kind: read, or refused in one line of ours."""

import json
import zipfile
from pathlib import Path

import pytest

from c2sflow.common.errors import UserError
from c2sflow.data.genes.symbol_tables import read_symbols
from c2sflow.inputs.gene_sets import read_gene_sets
from c2sflow.inputs.lists import read_cell_types, read_vocabulary
from c2sflow.inputs.perturbations import read_perturbations
from c2sflow.inputs.samplesheet import read_samplesheet
from c2sflow.sentences.prompts import fill, load_template

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[3] / "assets" / "schema_input.json").read_text()
)


def _raised(read):
    """Faults that come as a list are raised."""

    def call(path):
        _, faults = read(path)
        if faults:
            raise UserError("; ".join(faults))

    return call


perturbations = _raised(lambda path: read_perturbations("x", path))
sheet = _raised(lambda path: read_samplesheet(path, SCHEMA))
# Name of the file, how it is read, a good one.
READERS = {
    "sets.gmt": (read_gene_sets, "A\tx\tB\tC\n"),
    "genes.txt": (read_vocabulary, "A\nB\n"),
    "types.txt": (lambda path: read_cell_types("x", path, 2), "A\nB\n"),
    "names.txt": (perturbations, "A\nB\n"),
    "table.csv": (perturbations, "perturbation,dose\nA,1\n"),
    "table.tsv": (
        _raised(lambda path: read_perturbations("x", path)),
        "perturbation\tdose\nA\t1\n",
    ),
    "symbols.csv": (read_symbols, "id,symbol\nENSG1,A\n"),
    "sheet.csv": (sheet, "sample,path\na,a.h5ad\n"),
    "sheet.yaml": (
        _raised(lambda path: read_samplesheet(path, SCHEMA)),
        "- {sample: a, path: b}\n",
    ),
    "sheet.json": (sheet, '[{"sample": "a", "path": "b"}]'),
    "prompt.txt": (lambda path: load_template(str(path), "", ["cell_sentence"]), "{cell_sentence}"),
}
BAD = {
    "empty": (b"", None),
    "binary": (bytes(range(256)), "control character|not UTF-8"),
    "latin-1": (
        "T-Zelle é,ü\n".encode("latin-1"),
        r"line 1 is not UTF-8 \(byte 0xe9\); save it as",
    ),
    "UTF-16": ("sample,path\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
    "NUL": (b"A\0\tB\tC\n", "control character"),
    "gzip": (b"\x1f\x8b\x08\0\0", "compressed by gzip; unpack it"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "a web page; download the file itself"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(99), "a zip archive"),
    "folder": (None, "a folder|neither a file nor"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_text_is_refused_in_one_line(name, kind, tmp_path):
    content, message = BAD[kind]
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        READERS[name][0](path)
    said = str(error.value)
    assert "\n" not in said
    assert "Error" not in said
    assert "codec" not in said
    assert len(said) < 400


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("change", ["\ufeff{}", "{}\n\n"])
def test_what_editors_add_is_no_fault(name, change, tmp_path):
    read, good = READERS[name]
    if change.endswith("\n"):
        good = good.replace("\n", "\r\n")
    (tmp_path / name).write_text(change.replace("{}", good), encoding="utf-8", newline="")
    read(tmp_path / name)


@pytest.mark.parametrize("name", ["sheet.json", "sheet.yaml"])
def test_deep_nesting_is_refused(name, tmp_path):
    (tmp_path / name).write_text("[" * 5000)
    with pytest.raises(UserError, match="too deeply nested"):
        READERS[name][0](tmp_path / name)


@pytest.mark.parametrize("name", ["table.csv", "sheet.csv", "symbols.csv"])
def test_an_open_quote_is_named(name, tmp_path):
    (tmp_path / name).write_text(READERS[name][1] + '"' + "x" * 200_000)
    with pytest.raises(UserError, match="quote"):
        READERS[name][0](tmp_path / name)


def test_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "sheet.csv", "w") as file:
        file.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(UserError, match="a workbook of Excel; save it as CSV UTF-8"):
        READERS["sheet.csv"][0](tmp_path / "sheet.csv")


@pytest.mark.parametrize(
    "field",
    ["{age:>99999999999}", "{age!r}", "{cell_sentence:.2f}", "{age:d}", "{age:{age}}", "{age:s}"],
)
def test_formats_that_cannot_be_filled_are_refused(field):
    """A width of gigabytes; a whole number's format where a value has a fraction."""
    with pytest.raises(UserError, match=r"only numbers of obs have a format, such as \{age:.0f\}"):
        load_template(f"{{cell_sentence}} {field}", "", ["cell_sentence"])


@pytest.mark.parametrize("value", [3, 2.5, "old", None, True, float("nan")])
@pytest.mark.parametrize("form", [".0f", ",.2f", ".1e", ".3g", "%"])
def test_a_format_takes_every_value(value, form):
    template = load_template(f"{{cell_sentence}} {{age:{form}}}", "", ["cell_sentence"])
    assert fill(template, {"cell_sentence": "A", "n_genes": 1, "age": value}).startswith("A ")
