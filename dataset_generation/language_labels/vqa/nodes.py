"""The graph of questions: type, predecessors and successors of every node (chain, layer).

From DriveLM's graph VQA as used by SimLingo (arXiv 2503.09594, appendix A.2; github.com/RenzKa/simlingo).
"""

from __future__ import annotations

from dataclasses import dataclass

from driving.label_records import Links


@dataclass(frozen=True)
class Node:
    """One node of the graph.

    Attributes:
        chain, layer: Its name.
        kind: Group of questions in the file.
        up: Nodes its answer leads to, -1 for none.
        down: Nodes its answer builds on, -1 for none.
    """

    chain: int
    layer: int
    kind: str
    up: Links
    down: Links


def _links(text: str) -> Links:
    """``"31 40"`` to ((3, 1), (4, 0)); an empty text to -1."""
    return tuple((int(name[0]), int(name[1])) for name in text.split()) or -1


NODES = {
    (chain, layer): Node(chain, layer, kind, _links(up), _links(down))
    for chain, layer, kind, up, down in (
        (0, 0, "perception", "", ""),
        (1, 0, "prediction", "11", "30"),
        (1, 1, "planning", "60", "10"),
        (2, 0, "perception", "21", "30"),
        (2, 1, "prediction", "22", "20"),
        (2, 2, "planning", "60", "21"),
        (3, 0, "perception", "10 20 31 32 33 40", ""),
        (3, 1, "prediction", "43", "30 32 33"),
        (3, 2, "perception", "31 33 34 35 36 37 40", "30"),
        (3, 3, "perception", "31 34 35 36 40", "30"),
        (3, 4, "perception", "35 36", "32 33"),
        (3, 5, "prediction", "60", "32 33 34"),
        (3, 6, "prediction", "60", "32 33 34 35"),
        (3, 7, "perception", "60", "32"),
        (3, 8, "planning", "60", "39"),
        (3, 9, "perception", "38", ""),
        (4, 0, "perception", "41 42 43", "30 32 33"),
        (4, 1, "prediction", "43", "40"),
        (4, 2, "prediction", "43", "40"),
        (4, 3, "planning", "60", "40 41 42 31"),
        (5, 0, "perception", "60", ""),
        (6, 0, "planning", "", "11 22 35 36 37 38 43 50"),
    )
}
"""All 22 nodes."""
