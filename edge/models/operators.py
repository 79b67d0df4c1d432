"""The operators a model may use, and what of each.

In: nothing; the tables are data. Always holds: an operator, an attribute or a kind of attribute
that is not listed is refused; an operand that decides a shape or an address is a constant; no
listed operator has a sub-graph, a state, randomness, a sequence or a string tensor in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ONNX, ML = "", "ai.onnx.ml"
OPSET_MIN, OPSET_MAX, ML_OPSET_MAX, IR_MAX = 13, 26, 5, 13
"""Up to what onnxruntime 1.31 takes. From 13 on, axes are operands and not attributes."""

Kind = Literal["INT", "INTS", "FLOAT", "FLOATS", "STRING", "STRINGS", "TENSOR"]
Cost = Literal["element", "product", "convolution", "window", "trees"]


@dataclass(frozen=True)
class Operator:
    """attributes: kind by name. constants: places of operands that must be constants.

    positive, zero_or_more: attributes whose every number is so. values: what a string may say,
    or which integer. cost: how its operations are counted.
    """

    attributes: dict[str, Kind] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    positive: tuple[str, ...] = ()
    zero_or_more: tuple[str, ...] = ()
    values: dict[str, tuple[object, ...]] = field(default_factory=dict)
    cost: Cost = "element"


_PLAIN = Operator()
_AXIS = Operator({"axis": "INT"})
_ALPHA = Operator({"alpha": "FLOAT"})
_REDUCE = Operator(
    # axes: of operator sets before 18
    {"axes": "INTS", "keepdims": "INT", "noop_with_empty_axes": "INT"}, constants=(1,),
)  # fmt: skip
_WINDOW = Operator(
    {"auto_pad": "STRING", "ceil_mode": "INT", "count_include_pad": "INT", "dilations": "INTS",
     "kernel_shape": "INTS", "pads": "INTS", "storage_order": "INT", "strides": "INTS"},
    positive=("dilations", "kernel_shape", "strides"), zero_or_more=("pads",),
    values={"auto_pad": ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "storage_order": (0,)},
    cost="window",
)  # fmt: skip
_TRANSFORM = ("NONE",)  # of ai.onnx.ml: what is done to the sum; the model can do it itself

OPERATORS: dict[tuple[str, str], Operator] = {
    **{(ONNX, name): _PLAIN for name in (
        "Abs", "Acos", "Add", "And", "Asin", "Atan", "Ceil", "Clip", "Cos", "Cosh", "Div",
        "Equal", "Erf", "Exp", "Floor", "GlobalAveragePool", "Greater", "GreaterOrEqual",
        "HardSwish", "Identity", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mul",
        "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign",
        "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh", "Where",
        "Xor",
    )},
    **{(ONNX, name): _AXIS for name in (
        "Concat", "Flatten", "Gather", "Hardmax", "LogSoftmax", "Softmax",
    )},
    **{(ONNX, name): _ALPHA for name in ("Celu", "Elu", "LeakyRelu", "Swish", "ThresholdedRelu")},
    **{(ONNX, name): _REDUCE for name in (
        "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare",
    )},
    (ONNX, "Gather"): Operator({"axis": "INT"}, constants=(1,)),
    (ONNX, "Gelu"): Operator({"approximate": "STRING"}, values={"approximate": ("none", "tanh")}),
    (ONNX, "HardSigmoid"): Operator({"alpha": "FLOAT", "beta": "FLOAT"}),
    (ONNX, "Selu"): Operator({"alpha": "FLOAT", "gamma": "FLOAT"}),
    (ONNX, "Cast"): Operator({"to": "INT", "saturate": "INT"}, values={"to": (1, 6, 7, 9)}),
    (ONNX, "CastLike"): Operator({"saturate": "INT"}),
    (ONNX, "Constant"): Operator(
        {"value": "TENSOR", "value_float": "FLOAT", "value_floats": "FLOATS", "value_int": "INT",
         "value_ints": "INTS"},
    ),
    (ONNX, "ConstantOfShape"): Operator({"value": "TENSOR"}, constants=(0,)),
    (ONNX, "Expand"): Operator(constants=(1,)),
    (ONNX, "Tile"): Operator(constants=(1,)),
    (ONNX, "Pad"): Operator(
        {"mode": "STRING"}, constants=(1, 2, 3), values={"mode": ("constant",)},
    ),
    (ONNX, "Reshape"): Operator({"allowzero": "INT"}, constants=(1,)),
    (ONNX, "Slice"): Operator(constants=(1, 2, 3, 4)),
    (ONNX, "Split"): Operator({"axis": "INT", "num_outputs": "INT"}, constants=(1,),
                              positive=("num_outputs",)),
    (ONNX, "Squeeze"): Operator(constants=(1,)),
    (ONNX, "Unsqueeze"): Operator(constants=(1,)),
    (ONNX, "Transpose"): Operator({"perm": "INTS"}, zero_or_more=("perm",)),
    (ONNX, "MatMul"): Operator(cost="product"),
    (ONNX, "Gemm"): Operator(
        {"alpha": "FLOAT", "beta": "FLOAT", "transA": "INT", "transB": "INT"}, cost="product",
    ),
    (ONNX, "Conv"): Operator(
        {"auto_pad": "STRING", "dilations": "INTS", "group": "INT", "kernel_shape": "INTS",
         "pads": "INTS", "strides": "INTS"},
        positive=("dilations", "group", "kernel_shape", "strides"), zero_or_more=("pads",),
        values=_WINDOW.values, cost="convolution",
    ),
    (ONNX, "AveragePool"): _WINDOW,
    (ONNX, "MaxPool"): _WINDOW,
    (ONNX, "BatchNormalization"): Operator(
        {"epsilon": "FLOAT", "momentum": "FLOAT", "training_mode": "INT"},
        values={"training_mode": (0,)},
    ),
    (ONNX, "LayerNormalization"): Operator({"axis": "INT", "epsilon": "FLOAT", "stash_type": "INT"},
                                           values={"stash_type": (1,)}),
    (ML, "ArrayFeatureExtractor"): Operator(constants=(1,)),
    (ML, "LinearRegressor"): Operator(
        {"coefficients": "FLOATS", "intercepts": "FLOATS", "post_transform": "STRING",
         "targets": "INT"},
        positive=("targets",), values={"post_transform": _TRANSFORM}, cost="product",
    ),
    (ML, "Normalizer"): Operator({"norm": "STRING"}, values={"norm": ("MAX", "L1", "L2")}),
    (ML, "Scaler"): Operator({"offset": "FLOATS", "scale": "FLOATS"}),
    (ML, "TreeEnsembleRegressor"): Operator(
        {"aggregate_function": "STRING", "base_values": "FLOATS", "n_targets": "INT",
         "nodes_falsenodeids": "INTS", "nodes_featureids": "INTS", "nodes_hitrates": "FLOATS",
         "nodes_missing_value_tracks_true": "INTS", "nodes_modes": "STRINGS",
         "nodes_nodeids": "INTS", "nodes_treeids": "INTS", "nodes_truenodeids": "INTS",
         "nodes_values": "FLOATS", "post_transform": "STRING", "target_ids": "INTS",
         "target_nodeids": "INTS", "target_treeids": "INTS", "target_weights": "FLOATS"},
        positive=("n_targets",),
        zero_or_more=("nodes_falsenodeids", "nodes_featureids", "nodes_nodeids", "nodes_treeids",
                      "nodes_truenodeids", "target_ids", "target_nodeids", "target_treeids"),
        values={"aggregate_function": ("SUM", "AVERAGE"), "post_transform": _TRANSFORM},
        cost="trees",
    ),
}  # fmt: skip

NAMES = frozenset(name for _, name in OPERATORS)
"""Of both domains, for people."""
