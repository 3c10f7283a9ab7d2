"""The ONNX operators that a package's model may use, and what each costs for one row.

What exports of linear models, scalers, tree ensembles and small networks need. Left out on purpose: control flow,
randomness, text, sequences and maps, and whatever makes a value's size depend on data.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

# domain -> the lowest and highest version that a model may import.
OPSETS = {"": (13, 22), "ai.onnx.ml": (1, 4)}
IR_VERSIONS = (7, 13)

Shape = tuple[int, ...]

_ELEMENTWISE = """
    Abs Add And BatchNormalization Cast Clip Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish Identity LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Max Mean Min Mul Neg
    Not Or PRelu Pow Reciprocal Relu Selu Sigmoid Sign Softmax Softplus Sqrt Sub Sum Tanh Where Xor
"""
_REDUCTIONS = "ArgMax ArgMin ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"
_SHAPES = "Concat Constant Flatten Gather Reshape Slice Split Squeeze Transpose Unsqueeze"
_PRODUCTS = "Gemm MatMul"

PLAIN = frozenset(f"{_ELEMENTWISE} {_REDUCTIONS} {_SHAPES} {_PRODUCTS}".split())
TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})
MACHINE_LEARNING = TREES | {
    "ArrayFeatureExtractor",
    "Binarizer",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "Scaler",
}
OPERATORS = {"": PLAIN, "ai.onnx.ml": MACHINE_LEARNING}

# Inputs that decide a shape, by position: each must be a constant of the file.
CONSTANT_INPUTS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
}
# The runtime has these for float32 alone.
FLOAT32_ONLY = frozenset(
    [
        "Elu",
        "Erf",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mean",
        "PRelu",
        "Relu",
        "Selu",
        "Softplus",
    ]
)
# A whole number divided may end the process: the smallest by -1, which data could bring about.
FLOATS_ONLY = frozenset({"Div", "Pow", "Reciprocal"})
# More outputs are for training, or for nothing.
OUTPUTS = {"Split": 64, "LinearClassifier": 2, "TreeEnsembleClassifier": 2}
# More inputs switch training on.
INPUTS = {"Dropout": 2}

# What to do instead, for what exporters often write.
ADVICE = {
    "ZipMap": "export with options={'zipmap': False} and cut the column out that counts",
    "If": "a model has no control flow: export it with fixed shapes",
    "Loop": "a model has no control flow: unroll the loop",
    "Scan": "a model has no control flow: unroll the loop",
    "Shape": "export with one row and fixed shapes, so that no shape is computed",
    "Expand": "export with one row and fixed shapes, so that no shape is computed",
    "Imputer": "fill missing values in features.sql with coalesce",
    "LabelEncoder": "turn text into numbers in features.sql",
    "OneHotEncoder": "make one feature for each category in features.sql",
    "SVMClassifier": "support vector machines are not supported; distil it into a tree ensemble or a network",
    "SVMRegressor": "support vector machines are not supported; distil it into a tree ensemble or a network",
    "TreeEnsemble": "export with ai.onnx.ml version 3, which writes TreeEnsembleRegressor",
}


def _gemm(inputs: list[Shape], outputs: list[Shape], transposed: bool) -> int:
    return prod(outputs[0]) * inputs[0][0 if transposed else -1]


def _elements(shapes: list[Shape]) -> int:
    return sum(prod(shape) for shape in shapes)


def operations(kind: str, inputs: list[Shape], outputs: list[Shape], transposed: bool = False) -> int:
    """A bound on the multiply-adds, or steps of like cost, of one node of the plain domain.

    Args:
        kind: the operator's name.
        inputs: shapes of the inputs that are given.
        outputs: shapes of the outputs.
        transposed: whether Gemm reads its first input transposed.
    """
    if kind in ("Gemm", "MatMul"):
        return _gemm(inputs, outputs, transposed)
    # The dearest, such as Erf and Softmax, take some ten steps an element.
    weight: Callable[[int], int] = (lambda n: n) if kind in _SHAPES.split() else (lambda n: 10 * n)
    return weight(_elements(inputs) + _elements(outputs))
