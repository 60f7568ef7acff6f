"""The notebook section of docs/usage.md runs as it stands, on a user's own file."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_code_of_the_docs(pbmc, tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs/usage.md").read_text(encoding="utf-8")
    section = text[text.index("## In a notebook") : text.index("## Resuming")]
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    pbmc[:80].write_h5ad(tmp_path / "my.h5ad")
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, code in enumerate(BLOCK.findall(section)):
        exec(compile(code, f"docs/usage.md, block {number}", "exec"), names)
    predicted, generated, adata = (names[name] for name in ("predicted", "generated", "adata"))
    assert predicted.obs["c2s_sentence"].iloc[0] in capsys.readouterr().out
    assert predicted.shape == (20, adata.n_vars)
    assert generated.shape == (20, adata.n_vars)
    assert np.isfinite(names["shift"]).all()
    assert adata.obs["c2s_cell_type"].isin(["CD19+ B", "Dendritic"]).all()
    assert (tmp_path / "finetuned/splits.tsv").exists()
