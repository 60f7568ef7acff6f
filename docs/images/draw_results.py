#!/usr/bin/env python3
"""Draw umap.png, report.png and report_mobile.png: what the demo's results look like.

python docs/images/draw_results.py [results/demo]        (after make demo)

The report is photographed by a headless Chromium; where there is none, the old pictures stay.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import scanpy as sc
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image

IMAGES = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCREENS = {"report.png": (1280, 900), "report_mobile.png": (390, 844)}
PALETTE = "petroff10"  # ten colours that colour-blind readers can distinguish
COLOURS = 256  # of a PNG: a third of the bytes, and no difference to see


def draw_umap(result: Path, picture: Path) -> None:
    """UMAP of ``X_c2s``, coloured by label and by the predicted cell type, types by number."""
    adata = sc.read_h5ad(result)
    adata = adata[adata.obs["split"] == "test"].copy()  # the bundled model saw the others
    sc.pp.neighbors(adata, use_rep="X_c2s")
    sc.tl.umap(adata, min_dist=0.8, spread=1.5)  # so few cells want room
    columns = {"bulk_labels": "label in the data", "c2s_cell_type": "predicted by the model"}
    types = sorted(set().union(*(adata.obs[name].dropna().unique() for name in columns)))
    colours = plt.style.library[PALETTE]["axes.prop_cycle"].by_key()["color"]
    palette = dict(zip(types, colours, strict=False))
    figure, places = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
    for place, (name, title) in zip(places, columns.items(), strict=True):
        adata.obs[name] = adata.obs[name].astype("category")
        sc.pl.umap(
            adata, color=name, palette=palette, title=title, size=90, frameon=False,
            legend_loc="none", ax=place, show=False,
        )  # fmt: skip
        label_centroids(place, adata.obsm["X_umap"], adata.obs[name], types)
    handles = [plt.Line2D([], [], marker="o", ls="", color=palette[kind]) for kind in types]
    names = [f"{number}  {kind}" for number, kind in enumerate(types, start=1)]
    figure.legend(handles, names, loc="outside right", frameon=False, fontsize=9)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def label_centroids(place: Axes, positions: object, kinds: pd.Series, types: list[str]) -> None:
    """The number of each type that has three cells or more, where the middle one of them is."""
    where = pd.DataFrame(positions, index=kinds.index).groupby(kinds, observed=True)
    outline = [withStroke(linewidth=3, foreground="white")]
    for kind, (x, y) in where.median()[where.size() >= 3].iterrows():
        number = types.index(kind) + 1
        place.text(
            x, y, number, fontsize=12, weight="bold", ha="center", va="center",
            path_effects=outline,
        )  # fmt: skip


def photograph(page: Path, folder: Path, browser: str) -> None:
    """The first screen of the report, on a desktop and on a telephone.

    A window of Chromium is at least 500 pixels wide; a frame in it may be narrower.
    """
    for name, (width, height) in SCREENS.items():
        with tempfile.TemporaryDirectory() as scratch:
            frame = Path(scratch) / "frame.html"
            frame.write_text(
                "<!doctype html><style>*{margin:0;border:0}</style>"
                f'<iframe src="{page.resolve().as_uri()}" width={width} height={height}></iframe>',
                encoding="utf-8",
            )
            command = (
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--allow-file-access-from-files", "--virtual-time-budget=20000",
                f"--user-data-dir={scratch}/profile",
                f"--window-size={max(width, 500)},{height + 200}",
                f"--screenshot={folder / name}", frame.as_uri(),
            )  # fmt: skip
            subprocess.run(command, check=True, capture_output=True, timeout=180)
        with Image.open(folder / name) as image:
            image.crop((0, 0, width, height)).save(folder / name)
        shrink(folder / name)


def shrink(picture: Path) -> None:
    """The same PNG in few colours."""
    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    few.save(picture, optimize=True)


def main(results: Path) -> None:
    """All three; a line for what could not be drawn."""
    if not (results / "c2s.h5ad").exists() or not (results / "report.html").exists():
        sys.exit(f"draw_results: {results} holds no c2s.h5ad and report.html; run make demo first")
    draw_umap(results / "c2s.h5ad", IMAGES / "umap.png")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"draw_results: no Chromium in PATH: {', '.join(SCREENS)} stay as they are")
        return
    photograph(results / "report.html", IMAGES, browser)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/demo"))
