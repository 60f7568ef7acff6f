"""Lists and tables of perturbations: what they are called, and every fault of a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2sflow.inputs.perturbations import prompt_text, read_perturbations


def names(value, file=None):
    treatments, faults = read_perturbations(value, file)
    assert not faults
    return [treatment.condition for treatment in treatments]


@pytest.fixture
def table(tmp_path):
    def write(text, name="p.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_perturbations(name, tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("IFN", ["IFN"]),
        (" A , B,A,,", ["A", "B"]),
        ('"TNF, high", IL6', ["TNF, high", "IL6"]),
        ("A\nB", ["A", "B"]),
    ],
)
def test_list(value, expected):
    assert names(value) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.txt", "A\r\nTNF, high\n\nA\n", ["A", "TNF, high"]),
        ("p.csv", '\ufeffnote,perturbation\n1,A\n2,"B, C"\n', ["A", "B, C"]),
        ("p.tsv", "perturbation\nA\n\n A \n", ["A"]),
        ("p.csv", '\ufeffnote;perturbation\r\n1,5;NA\r\n2;"B; C"\r\n', ["NA", "B; C"]),
        ("p.csv", "perturbation;dose\n001;1,5\n", ["001, 1,5"]),
    ],
)
def test_file(name, content, expected, tmp_path):
    (tmp_path / name).write_text(content)
    assert names(name, tmp_path / name) == expected


def test_dose_and_time_make_conditions(table):
    treatments, _ = table(
        "perturbation,dose,time,cell_query,n_cells,target\n"
        "IFN-beta,10 ng/ml,6 h,,,R1\n"
        "IFN-beta,100 ng/ml,6 h,type == 'B',7,R1\n"
        "TNF,,,,,R2\n"
    )
    assert [t.condition for t in treatments] == [
        "IFN-beta, 10 ng/ml, 6 h", "IFN-beta, 100 ng/ml, 6 h", "TNF",
    ]  # fmt: skip
    assert [t.perturbation for t in treatments] == ["IFN-beta", "IFN-beta", "TNF"]
    assert [t.n_cells for t in treatments] == [None, 7, None]
    assert [t.cell_query for t in treatments] == [None, "type == 'B'", None]
    assert treatments[2].columns == {"dose": "", "time": "", "target": "R2"}
    assert treatments[1].where == "--perturbations p.csv, line 3"


def test_rows_that_differ_in_cells_only_are_one_condition(table):
    treatments, _ = table("perturbation,cell_query,n_cells\nA,x == 1,5\nA,x == 2,6\nA,x == 1,5\n")
    assert [(t.condition, t.n_cells) for t in treatments] == [("A", 5), ("A", 6)]


def test_free_columns_tell_apart_what_is_called_the_same(table):
    treatments, _ = table(
        "perturbation,dose,vendor,lot\nA,1,X,7\nA,1,Y,7\nB,1,X,8\n".replace(",", "\t"), "p.tsv"
    )
    assert [t.condition for t in treatments] == ["A, 1, X", "A, 1, Y", "B, 1"]


@given(order=st.permutations(range(4)))
def test_names_do_not_depend_on_the_order_of_rows(tmp_path_factory, order):
    rows = ["A,1,X", "A,1,Y", "A,2,X", "B,,"]
    path = tmp_path_factory.mktemp("table") / "p.csv"
    path.write_text("\n".join(["perturbation,dose,vendor", *(rows[n] for n in order)]))
    expected = ["A, 1, X", "A, 1, Y", "A, 2", "B"]
    assert names("p.csv", path) == [expected[n] for n in order]


@given(
    st.lists(
        st.tuples(*[st.sampled_from(values) for values in ("AB", ("", "1"), "XYZ", "PQ")]),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_names_are_those_of_comparing_every_two_rows(tmp_path_factory, rows):
    """A free column is in a name if any other row of the same perturbation and dose differs."""
    path = tmp_path_factory.mktemp("table") / "p.csv"
    lines = [",".join(row) for row in rows]
    path.write_text("\n".join(["perturbation,dose,vendor,lot", *lines]))
    expected = []
    for name, dose, *free in dict.fromkeys(rows):
        alike = [other[2:] for other in rows if other[:2] == (name, dose)]
        apart = [n for n in range(2) if any(other[n] != free[n] for other in alike)]
        expected.append(", ".join(filter(None, [name, dose, *(free[n] for n in apart)])))
    treatments, _ = read_perturbations("p.csv", path)
    assert [treatment.condition for treatment in treatments] == expected


@pytest.mark.parametrize(
    ("row", "fields", "expected"),
    [
        ({"perturbation": "A", "dose": "1 µM", "time": "6 h"}, [], "A, 1 µM, 6 h"),
        ({"perturbation": "A", "dose": "1 µM", "time": "6 h"}, ["dose"], "A, 6 h"),
        ({"perturbation": "A", "dose": None, "time": float("nan")}, [], "A"),
        ({"perturbation": "A"}, ["dose"], "A"),
    ],
)
def test_prompt_says_what_it_has_no_field_for(row, fields, expected):
    assert prompt_text(row, fields) == expected


def test_all_faults_of_a_table_are_told_with_their_lines(table):
    treatments, faults = table(
        'perturbation,n_cells,dose\n,3,1\nA,0,\n\nA,2.5,\nA,many,\n"B\nb",-1,\nC,1,2,3\nD,10.0,\n'
    )
    # Faulty rows are kept: what else is wrong with them is for VALIDATE to find.
    assert [(t.perturbation, t.n_cells) for t in treatments][:2] == [("", 3), ("A", None)]
    where = "--perturbations p.csv, line"
    assert faults == [
        f"{where} 2: perturbation is empty",
        f"{where} 3: n_cells 0: must be a whole number above 0",
        f"{where} 5: n_cells 2.5: must be a whole number above 0",
        f"{where} 6: n_cells many: must be a whole number above 0",
        f"{where} 8: n_cells -1: must be a whole number above 0",
        f"{where} 9: more fields than the header has columns; put text that holds the separator "
        "in double quotes",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gene\nA\n", "no column 'perturbation' (found: gene)"),
        ("", "no column 'perturbation' (found: nothing)"),
        ("perturbation\n\n", "holds no perturbation; give a row for each"),
        ("perturbation,,dose\nA,1,2\n", "column 2 has no name"),
        ("perturbation,dose,dose\nA,1,2\n", "two columns are named dose"),
        ("perturbation,sample\nA,1\n", "use the name 'sample' for something else"),
        ("perturbation,cell_id,num_genes\nA,1,2\n", "use the name 'cell_id', 'num_genes' for"),
        ("perturbation,c2s_sentence\nA,1\n", "use the name 'c2s_sentence' for"),
        ('perturbation,dose\n"A, 1",\nA,1\n', "line 3: is called 'A, 1', as is line 2"),
    ],
)
def test_faulty_table(table, content, message):
    treatments, faults = table(content)
    assert len(faults) == 1
    assert message in faults[0]
    assert treatments == [] or "is called" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"\n", "holds no perturbation"),
        ("p.txt", b"\xff\xfe\x00A", "cannot be read as text"),
        ("p.csv", b"\xff\xfe\x00A", "cannot be read as text"),
    ],
)
def test_file_without_perturbations(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    treatments, (fault,) = read_perturbations(name, tmp_path / name)
    assert message in fault
    assert treatments == []


def test_empty_list():
    assert "holds no perturbation" in read_perturbations(" , ")[1][0]
