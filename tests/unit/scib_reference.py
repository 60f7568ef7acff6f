"""Cells whose metrics scib_metrics computed: scib_reference.json.

Made anew in an environment with that package: ``python tests/unit/scib_reference.py``.
"""

import json
from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).with_suffix(".json")
# Name to cells, distance of the types, and of the batches.
SHAPES = {
    "mixed": (300, 3.0, 0.0),
    "parted": (300, 3.0, 2.5),
    "weak": (240, 0.8, 0.6),
    "small": (60, 2.0, 1.0),
}


def cells_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors float32 (n, 12), types and batches int (n,)."""
    n, types_apart, batches_apart = SHAPES[name]
    rng = np.random.default_rng(len(name))
    types, batches = rng.integers(0, 4, n), rng.integers(0, 3, n)
    vectors = rng.normal(size=(n, 12)) + types_apart * rng.normal(size=(4, 12))[types]
    vectors += batches_apart * rng.normal(size=(3, 12))[batches]
    return vectors.astype(np.float32), types, batches


def main() -> None:
    """Compute the metrics."""
    import scib_metrics as scib
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.metrics import pairwise_distances

    found = {}
    for name in SHAPES:
        vectors, types, batches = cells_of(name)
        distances = pairwise_distances(vectors.astype(float))
        order = np.argsort(distances, axis=1, kind="stable")

        def nearest(k, distances=distances, order=order):
            return NeighborsResults(
                indices=order[:, :k], distances=np.take_along_axis(distances, order[:, :k], axis=1)
            )

        k = min(90, len(vectors))
        found[name] = {
            **scib.nmi_ari_cluster_labels_kmeans(vectors, types),
            "silhouette": scib.silhouette_label(vectors, types),
            "graph_connectivity": scib.graph_connectivity(nearest(15), types),
            "clisi": scib.clisi_knn(nearest(k), types),
            "ilisi": scib.ilisi_knn(nearest(k), batches),
            "bras": scib.bras(vectors, types, batches),
        }
    rounded = {
        name: {metric: round(float(value), 6) for metric, value in values.items()}
        for name, values in found.items()
    }
    REFERENCE.write_text(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    main()
