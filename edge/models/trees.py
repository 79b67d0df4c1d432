"""Is a tree ensemble one that a walk always leaves?

In: the attributes of a TreeEnsembleRegressor (ai.onnx.ml), the features of its input. Out: the
reasons against it, and how many steps a walk over all trees takes at most.
Always holds: no reason means that every array has its length, every child and feature exists,
every tree has one root, every node is reached once, and no path is longer than `DEPTH_MAX`.
onnxruntime follows the arrays as they are: a child that is its own ancestor never ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEPTH_MAX, NODES_MAX = 64, 65_536
_BRANCHES = {b"BRANCH_LEQ", b"BRANCH_LT", b"BRANCH_GTE", b"BRANCH_GT", b"BRANCH_EQ", b"BRANCH_NEQ"}
_LEAF = b"LEAF"
_PER_NODE = (
    "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids",
)  # fmt: skip
_OPTIONAL = ("nodes_hitrates", "nodes_missing_value_tracks_true")
_PER_TARGET = ("target_nodeids", "target_ids", "target_weights")

_Node = tuple[int, int]
"""(tree, node)."""


def examine_trees(attributes: Mapping[str, Any], features: int) -> tuple[list[str], int]:
    """(reasons, steps of a walk)."""
    try:
        return [], _walk(attributes, features)
    except (_Refused, KeyError) as error:
        return [f"tree ensemble: {error.args[0]}"], 0


class _Refused(Exception):
    pass


def _walk(of: Mapping[str, Any], features: int) -> int:
    count = len(of.get("nodes_treeids", ()))
    _need(0 < count <= NODES_MAX, f"{count} nodes, want 1 to {NODES_MAX}")
    for name in _PER_NODE:
        _need(len(of.get(name, ())) == count, f"{name} is not one a node")
    for name in _OPTIONAL:
        _need(len(of.get(name, ())) in (0, count), f"{name} is not one a node")
    nodes = list(zip(of["nodes_treeids"], of["nodes_nodeids"], strict=True))
    place = {node: i for i, node in enumerate(nodes)}
    _need(len(place) == count, "a node is there twice")
    children = _children(of, nodes, place, features)
    depth = _depths(nodes, children)
    _targets(of, nodes, place)
    return sum(depth.values())


def _children(
    of: Mapping[str, Any], nodes: Sequence[_Node], place: Mapping[_Node, int], features: int
) -> list[tuple[int, ...]]:
    out = list[tuple[int, ...]]()
    for i, (tree, _) in enumerate(nodes):
        mode = of["nodes_modes"][i]
        if mode == _LEAF:
            out.append(())
            continue
        _need(mode in _BRANCHES, f"mode {mode[:20]!r}")
        _need(0 <= of["nodes_featureids"][i] < features, "a feature that is not there")
        ends = [(tree, of[name][i]) for name in ("nodes_truenodeids", "nodes_falsenodeids")]
        _need(all(end in place for end in ends), "a child that is not there")
        out.append(tuple(place[end] for end in ends))
    return out


def _depths(nodes: Sequence[_Node], children: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Longest path of each tree; every node is reached from the root of its tree, once."""
    reached = {child for ends in children for child in ends}
    depth = dict[int, int]()
    roots = [i for i in range(len(nodes)) if i not in reached]
    _need(len(roots) == len({tree for tree, _ in nodes}), "a tree without one root")
    seen = 0
    waiting = [(root, 1) for root in roots]
    for root in roots:
        _need(nodes[root][0] not in depth, "a tree with two roots")
        depth[nodes[root][0]] = 1
    while waiting:
        i, level = waiting.pop()
        seen += 1
        _need(seen <= len(nodes), "a node with two parents")
        _need(level <= DEPTH_MAX, f"a path over {DEPTH_MAX} nodes")
        depth[nodes[i][0]] = max(depth[nodes[i][0]], level)
        waiting += [(child, level + 1) for child in children[i]]
    _need(seen == len(nodes), "nodes that no root reaches")
    return depth


def _targets(of: Mapping[str, Any], nodes: Sequence[_Node], place: Mapping[_Node, int]) -> None:
    count, targets = len(of.get("target_treeids", ())), of.get("n_targets", 1)
    for name in _PER_TARGET:
        _need(len(of.get(name, ())) == count > 0, f"{name} is not one a target")
    ends = zip(of["target_treeids"], of["target_nodeids"], strict=True)
    leaves = {node for node, i in place.items() if of["nodes_modes"][i] == _LEAF}
    _need(all(end in leaves for end in ends), "a target that is no leaf")
    _need(all(0 <= x < targets for x in of["target_ids"]), "a target that is not there")
    _need(len(of.get("base_values", ())) in (0, targets), "base_values is not one a target")


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise _Refused(what)
