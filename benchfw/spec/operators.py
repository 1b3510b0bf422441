"""Operators of ONNX, and of ONNX Runtime: which multiply and accumulate, and how often."""

from __future__ import annotations

import math
from collections.abc import Sequence

Shape = Sequence[int]

_WEIGHT_AT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "ConvTranspose": 1, "QLinearConv": 3}
"""Convolutions, and the place of the weights among their inputs."""

_SECOND_AT = {
    **dict.fromkeys(("MatMul", "MatMulInteger", "FusedMatMul", "Gemm", "FusedGemm"), 1),
    **dict.fromkeys(("QLinearMatMul", "QGemm"), 3),
}
"""Matrix products, and the place of the second factor among their inputs."""

_VIEW = """
Reshape Flatten Squeeze Unsqueeze Identity Shape Size Constant ConstantOfShape Dropout
"""
VIEWS = frozenset(_VIEW.split())
"""Operators that move nothing, or next to nothing: they give a tensor another shape, or tell of it."""

_ELEMENTWISE = """
Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil
Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu
Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh
Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
"""
"""One operation per element, or a few."""

_STATISTICS = """
ArgMax ArgMin AveragePool BatchNormalization CumSum GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization
Hardmax InstanceNormalization LayerNormalization LogSoftmax LpNormalization LpPool LRN MaxPool
MeanVarianceNormalization RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Softmax TopK
"""
"""Sums, largest elements, normalisations."""

_MOVING = """
CenterCropPad Compress Concat DepthToSpace Expand EyeLike Gather GatherElements GatherND NonZero OneHot Pad Range
Resize ReverseSequence ScatterElements ScatterND Slice SpaceToDepth Split Tile Transpose Trilu Unique Upsample
"""
"""Moving of data."""

_QUANTISING = """
DequantizeLinear DynamicQuantizeLinear QuantizeLinear
"""
"""Numbers to few bits and back."""

_RUNTIME = """
BiasGelu FastGelu FusedGelu QuickGelu QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearMul
QLinearSigmoid QLinearSoftmax ReorderInput ReorderOutput SimplifiedLayerNormalization SkipLayerNormalization
SkipSimplifiedLayerNormalization
"""
"""What ONNX Runtime puts in place of these."""

_WITHOUT_PRODUCTS = VIEWS.union(*map(str.split, (_ELEMENTWISE, _STATISTICS, _MOVING, _QUANTISING, _RUNTIME)))


def macs(op: str, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int | None:
    """Return the multiply-accumulates of one call of an operator; None where its operator or a shape is not known.

    Attributes (strides, groups, transposition) show in the shapes. A convolution makes each output from the inputs
    under one filter; a transposed one spreads each input under one; a product makes each output from one row:

        Conv            outputs * (channels of a group * kernel), the weights' shape but for its first dimension
        ConvTranspose   inputs * (channels of a group * kernel), likewise
        MatMul, Gemm    outputs * columns of a row

    Args:
        op: ONNX operator, or one of ONNX Runtime's of the same meaning.
        inputs: Shapes of its inputs, weights included; None for one that is not known.
        outputs: Shapes of its outputs.
    """
    if op in _WITHOUT_PRODUCTS:
        return 0
    place = _WEIGHT_AT.get(op) or _SECOND_AT.get(op)
    if place is None or len(inputs) <= place or not outputs:
        return None
    first, second, output = inputs[0], inputs[place], outputs[0]
    if first is None or second is None or output is None:
        return None
    if op in _WEIGHT_AT:
        return math.prod(first if op == "ConvTranspose" else output) * math.prod(second[1:])
    return math.prod(output) * _inner(op, first, output)


def _inner(op: str, first: Shape, output: Shape) -> int:
    """Return the length of the sums of a matrix product."""
    if op in ("Gemm", "FusedGemm", "QGemm"):  # either factor may be transposed
        return math.prod(first) // output[0] if output[0] else 0
    return first[-1]
