"""What adds each operator of TFLite Micro to a program's resolver."""

from __future__ import annotations

from compressor.exporters.tflite.decode_codes import OPERATOR

METHODS = (
    *("Abs", "Add", "AddN", "ArgMax", "ArgMin", "AssignVariable", "AveragePool2D"),
    *("BatchMatMul", "BatchToSpaceNd", "BroadcastArgs", "BroadcastTo", "CallOnce", "Cast"),
    *("Ceil", "Concatenation", "Conv2D", "Cos", "CumSum", "DepthToSpace", "DepthwiseConv2D"),
    *("Dequantize", "Div", "DynamicUpdateSlice", "Elu", "EmbeddingLookup", "Equal", "Exp"),
    *("ExpandDims", "Fill", "Floor", "FloorDiv", "FloorMod", "FullyConnected", "Gather"),
    *("GatherNd", "Greater", "GreaterEqual", "HardSwish", "If", "L2Normalization", "L2Pool2D"),
    *("LeakyRelu", "Less", "LessEqual", "Log", "LogSoftmax", "LogicalAnd", "LogicalNot"),
    *("LogicalOr", "Logistic", "MaxPool2D", "Maximum", "Mean", "Minimum", "MirrorPad", "Mul"),
    *("Neg", "NotEqual", "Pack", "Pad", "PadV2", "Prelu", "Quantize", "ReadVariable"),
    *("ReduceAll", "ReduceMax", "ReduceMin", "Relu", "Relu6", "Reshape", "ResizeBilinear"),
    *("ResizeNearestNeighbor", "ReverseV2", "Round", "Rsqrt", "SelectV2", "Shape", "Sin"),
    *("Slice", "Softmax", "SpaceToBatchNd", "SpaceToDepth", "Split", "SplitV", "Sqrt", "Square"),
    *("SquaredDifference", "Squeeze", "StridedSlice", "Sub", "Sum", "Svdf", "Tanh", "Transpose"),
    *("TransposeConv", "UnidirectionalSequenceLSTM", "Unpack", "VarHandle", "While"),
    "ZerosLike",
)
"""AddMETHOD of MicroMutableOpResolver, for the operators of the measured table"""

_PLAIN = {method.upper(): f"Add{method}" for method in METHODS}


def resolver_method(operator: str) -> str | None:
    """The method of MicroMutableOpResolver that adds an operator, such as AddConv2D for CONV_2D."""
    if operator == OPERATOR:
        return "AddDecode"
    return _PLAIN.get(operator.replace("_", ""))
