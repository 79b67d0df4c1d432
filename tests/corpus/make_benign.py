"""Writes the benign corpus again: `python tests/corpus/make_benign.py EXPORTER... --out FOLDER`.

Each exporter needs its own package (README.md beside this file says which versions were used);
CI needs none of them, the files are kept. Always holds: seeded; every model takes one float32
tensor of rows and gives one, has fewer than 20 kB, and is what the exporter wrote
(torch's stack traces are left out: they name the machine it was made on).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 2
RNG = np.random.default_rng(2026)


def weights(*shape: int) -> Any:
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def torch_models() -> Iterator[tuple[str, bytes]]:
    """Both of torch's exporters: by tracing (TorchScript) and by torch.export (dynamo)."""
    import torch
    from torch import nn

    torch.manual_seed(7)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            return x + self.second(torch.relu(self.first(x)))

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.value = nn.Linear(5, 4), nn.Linear(5, 4)

        def forward(self, x: Any) -> Any:
            return torch.sigmoid(self.gate(x)) * torch.tanh(self.value(x))

    class Piecewise(nn.Module):
        def forward(self, x: Any) -> Any:
            low, high = x[:, :3], x[:, 3:]
            return torch.where(low > high, low - high, 0.5 * (high - low).abs())

    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6))

        def forward(self, x: Any) -> Any:
            return ((self.net(x) - x) ** 2).mean(dim=1, keepdim=True)

    nets: dict[str, tuple[nn.Module, int]] = {
        "mlp_tanh": (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)), 6),
        "mlp_gelu": (nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1)), 4),
        "mlp_norm": (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4), nn.SiLU(),
                                   nn.Linear(4, 2)), 6),
        "batch_norm": (nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ELU(),
                                     nn.Dropout(0.2), nn.Linear(6, 1)), 5),
        "residual": (Residual(), 6), "gated": (Gated(), 5), "piecewise": (Piecewise(), 6),
        "autoencoder_score": (Score(), 6),
        "conv": (nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 3, 3, padding=1), nn.ReLU(),
                               nn.AvgPool1d(2), nn.Flatten(), nn.Linear(12, 2)), 8),
        "softmax": (nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), 4),
    }  # fmt: skip
    for name, (net, width) in nets.items():
        net.eval()
        sample = torch.zeros(ROWS, width)
        for way, dynamo in (("traced", False), ("exported", True)):
            if name == "conv" and not dynamo:
                continue  # it computes the shape of a reshape while it runs: refused, rightly
            out = io.BytesIO()
            if dynamo:
                program = torch.onnx.export(net, (sample,), dynamo=True, verbose=False)
                yield f"{way}_{name}", _untraced(program.model_proto)
            else:
                torch.onnx.export(net, (sample,), out, dynamo=False, opset_version=17)
                yield f"{way}_{name}", out.getvalue()


def _untraced(model: Any) -> bytes:
    """Without the stack traces of the machine it was made on."""
    for node in model.graph.node:
        kept = [x for x in node.metadata_props if "stack_trace" not in x.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return bytes(model.SerializeToString())


def sklearn_models() -> Iterator[tuple[str, bytes]]:
    """skl2onnx; the operators of ai.onnx.ml among them."""
    from skl2onnx import to_onnx
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
    from sklearn.linear_model import BayesianRidge, LinearRegression, Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        MaxAbsScaler,
        MinMaxScaler,
        Normalizer,
        RobustScaler,
        StandardScaler,
    )
    from sklearn.tree import DecisionTreeRegressor

    x = RNG.normal(size=(300, 5)).astype(np.float32)
    y = (x[:, 0] * 2 - x[:, 1] + np.sin(x[:, 2])).astype(np.float32)
    two = np.column_stack([y, -y])
    models = {
        "linear": LinearRegression().fit(x, y),
        "linear_two_targets": LinearRegression().fit(x, two),
        "ridge_scaled": make_pipeline(StandardScaler(), Ridge()).fit(x, y),
        "bayes_robust": make_pipeline(RobustScaler(), BayesianRidge()).fit(x, y),
        "mlp": MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=1).fit(x, y),
        "mlp_logistic": make_pipeline(
            MinMaxScaler(),
            MLPRegressor(
                hidden_layer_sizes=(5,), activation="logistic", max_iter=60, random_state=1
            ),
        ).fit(x, y),
        "tree": DecisionTreeRegressor(max_depth=4, random_state=1).fit(x, y),
        "boosted": GradientBoostingRegressor(
            n_estimators=12, max_depth=3, random_state=1).fit(x, y),
        "extra_trees_two_targets": ExtraTreesRegressor(
            n_estimators=5, max_depth=3, random_state=1).fit(x, two),
        "normalised": make_pipeline(Normalizer(), Ridge()).fit(x, y),
        "max_abs": make_pipeline(MaxAbsScaler(), LinearRegression()).fit(x, y),
        "components": PCA(2).fit(x),
    }  # fmt: skip
    for name, model in models.items():
        yield (
            name,
            to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString(),
        )


def onnxscript_models() -> Iterator[tuple[str, bytes]]:
    import onnxscript
    from onnxscript import FLOAT
    from onnxscript import opset18 as op

    globals().update(FLOAT=FLOAT, op=op)  # where its decorator looks for annotations

    @onnxscript.script()
    def saturating(x: FLOAT[2, 4]) -> FLOAT[2, 4]:
        return op.Clip(op.Mul(x, 2.0), -1.0, 1.0)

    @onnxscript.script()
    def deadband(x: FLOAT[2, 3]) -> FLOAT[2, 3]:
        small = op.Less(op.Abs(x), 0.1)
        return op.Where(small, op.Mul(x, 0.0), x)

    @onnxscript.script()
    def norm(x: FLOAT[2, 5]) -> FLOAT[2, 1]:
        return op.Sqrt(op.ReduceSum(x * x, op.Constant(value_ints=[1]), keepdims=1))

    @onnxscript.script()
    def swapped(x: FLOAT[2, 4]) -> FLOAT[2, 4]:
        left, right = op.Split(x, num_outputs=2, axis=1)
        return op.Concat(op.LeakyRelu(right, alpha=0.2), op.Softplus(left), axis=1)

    for function in (saturating, deadband, norm, swapped):
        yield function.name, function.to_model_proto().SerializeToString()


def spox_models() -> Iterator[tuple[str, bytes]]:
    import spox.opset.ai.onnx.v20 as op
    from spox import Tensor, argument, build

    def x(width: int) -> Any:
        return argument(Tensor(np.float32, (ROWS, width)))

    def c(value: Any) -> Any:
        return op.const(np.asarray(value, np.float32))

    a = x(4)
    yield (
        "gemm",
        build({"x": a}, {"y": op.gemm(a, c(weights(4, 3)), c(weights(3)))}).SerializeToString(),
    )
    a = x(3)
    yield (
        "gelu",
        build({"x": a}, {"y": op.gelu(op.matmul(a, c(weights(3, 3))))}).SerializeToString(),
    )
    a = x(6)
    picked = op.gather(a, op.const(np.array([0, 2, 4])), axis=1)
    yield "gather", build({"x": a}, {"y": op.mul(picked, c([1, 2, 3]))}).SerializeToString()
    a = x(2)
    wide = op.expand(op.unsqueeze(a, op.const(np.array([2]))), op.const(np.array([2, 2, 3])))
    yield (
        "expand",
        build(
            {"x": a}, {"y": op.reduce_mean(wide, op.const(np.array([2])), keepdims=0)}
        ).SerializeToString(),
    )
    a = x(4)
    turned = op.transpose(op.reshape(a, op.const(np.array([2, 2, 2]))), perm=[0, 2, 1])
    yield (
        "transpose",
        build({"x": a}, {"y": op.reshape(turned, op.const(np.array([2, 4])))}).SerializeToString(),
    )


def helper_models() -> Iterator[tuple[str, bytes]]:
    """By hand, with onnx itself; an old and the newest operator set."""
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], widths: tuple[int, int], opset: int, **constants: Any) -> bytes:
        graph = helper.make_graph(
            nodes, "by-hand",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, widths[0]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, widths[1]])],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )  # fmt: skip
        sets = [helper.make_opsetid("", opset)]
        made = helper.make_model(graph, opset_imports=sets, ir_version=8 if opset < 20 else 10)
        return bytes(made.SerializeToString())

    n = helper.make_node
    yield (
        "opset13_relu",
        model(
            [n("MatMul", ["x", "w"], ["a"]), n("Relu", ["a"], ["y"])], (3, 2), 13, w=weights(3, 2)
        ),
    )
    yield (
        "opset26_tanh",
        model(
            [n("Gemm", ["x", "w", "b"], ["a"]), n("Tanh", ["a"], ["y"])],
            (3, 2),
            26,
            w=weights(3, 2),
            b=weights(2),
        ),
    )
    yield (
        "logic",
        model(
            [
                n("Greater", ["x", "lo"], ["a"]),
                n("LessOrEqual", ["x", "hi"], ["b"]),
                n("And", ["a", "b"], ["c"]),
                n("Not", ["c"], ["d"]),
                n("Cast", ["d"], ["y"], to=1),
            ],
            (4, 4),
            21,
            lo=np.float32(-0.5),
            hi=np.float32(0.5),
        ),
    )
    yield (
        "padded_tiles",
        model(
            [
                n("Pad", ["x", "pads"], ["a"]),
                n("Tile", ["a", "twice"], ["b"]),
                n("ReduceMax", ["b", "axis"], ["y"], keepdims=1),
            ],
            (3, 1),
            21,
            pads=np.array([0, 1, 0, 1]),
            twice=np.array([1, 2]),
            axis=np.array([1]),
        ),
    )
    yield (
        "ratio",
        model(
            [
                n("Abs", ["x"], ["a"]),
                n("Add", ["a", "one"], ["b"]),
                n("Log", ["b"], ["c"]),
                n("Neg", ["c"], ["d"]),
                n("Reciprocal", ["b"], ["e"]),
                n("Sum", ["d", "e", "x"], ["y"]),
            ],
            (5, 5),
            21,
            one=np.float32(1),
        ),
    )
    yield (
        "constant_nodes",
        model(
            [
                n("Constant", [], ["k"], value_float=2.5),
                n("Constant", [], ["s"], value_ints=[2, 2, 2]),
                n(
                    "ConstantOfShape",
                    ["s"],
                    ["z"],
                    value=numpy_helper.from_array(np.array([0.5], np.float32)),
                ),
                n("Reshape", ["x", "s"], ["r"]),
                n("Add", ["r", "z"], ["a"]),
                n("Mul", ["a", "k"], ["m"]),
                n("Flatten", ["m"], ["y"], axis=1),
            ],
            (4, 4),
            21,
        ),
    )


EXPORTERS = {
    "torch": torch_models, "skl2onnx": sklearn_models, "onnxscript": onnxscript_models,
    "spox": spox_models, "onnx": helper_models,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exporters", nargs="+", choices=sorted(EXPORTERS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for exporter in options.exporters:
        for name, data in EXPORTERS[exporter]():
            path = options.out / f"{exporter}_{name}.onnx"
            if len(data) > 20_000:
                print(f"{path.name}: {len(data)} bytes, left out")
                continue
            path.write_bytes(data)
            print(f"{path.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
