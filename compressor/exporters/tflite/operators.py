"""Which operators, in which versions, a runtime executes.

Every operator of a TFLite file has a version, which rises when its operator takes new types or
options, and a runtime refuses versions that it does not know when it loads the file.
"""

from __future__ import annotations

from typing import Any

from compressor.errors import ModelError
from compressor.exporters.tflite import graph as graphs

_TFLITE_RUNTIME_2_14: dict[int, str] = {
    1: """
        ADD_N ASSIGN_VARIABLE ATAN2 BITCAST BITWISE_XOR BROADCAST_ARGS BUCKETIZE CALL_ONCE
        CEIL COMPLEX_ABS CONV_3D CONV_3D_TRANSPOSE COS CUMSUM DENSIFY DYNAMIC_UPDATE_SLICE
        ELU EMBEDDING_LOOKUP_SPARSE EXPAND_DIMS FLOOR HARD_SWISH HASHTABLE HASHTABLE_FIND
        HASHTABLE_IMPORT HASHTABLE_LOOKUP HASHTABLE_SIZE IF IMAG L2_POOL_2D
        LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LSH_PROJECTION
        MATRIX_DIAG MATRIX_SET_DIAG MULTINOMIAL NEG NON_MAX_SUPPRESSION_V4
        NON_MAX_SUPPRESSION_V5 ONE_HOT POW PRELU RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK
        READ_VARIABLE REAL REDUCE_ALL REDUCE_ANY RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
        REVERSE_SEQUENCE RFFT2D RIGHT_SHIFT ROUND SCATTER_ND SEGMENT_SUM SHAPE SIN SKIP_GRAM
        SQRT SQUARE UNIQUE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD
        UNSORTED_SEGMENT_SUM VAR_HANDLE WHILE ZEROS_LIKE
    """,
    2: """
        DEPTH_TO_SPACE DIV EXP FAKE_QUANT FLOOR_MOD GELU GREATER L2_NORMALIZATION LEAKY_RELU
        LESS_EQUAL LOG_SOFTMAX RANGE REDUCE_PROD RSQRT SELECT_V2 SIGN SPACE_TO_DEPTH SPLIT_V
        SQUARED_DIFFERENCE SQUEEZE SUM WHERE
    """,
    3: """
        ARG_MAX ARG_MIN AVERAGE_POOL_2D BIDIRECTIONAL_SEQUENCE_LSTM
        BIDIRECTIONAL_SEQUENCE_RNN BROADCAST_TO EMBEDDING_LOOKUP FLOOR_DIV GREATER_EQUAL
        LESS LOGISTIC MAX_POOL_2D MEAN MIRROR_PAD NOT_EQUAL QUANTIZE REDUCE_MAX REDUCE_MIN
        RELU RELU6 REVERSE_V2 RNN SOFTMAX SPARSE_TO_DENSE TANH TILE TOPK_V2
        UNIDIRECTIONAL_SEQUENCE_RNN
    """,
    4: """
        BATCH_MATMUL BATCH_TO_SPACE_ND CONCATENATION EQUAL FILL GATHER_ND LSTM MAXIMUM
        MINIMUM PACK PAD PADV2 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SELECT
        SPACE_TO_BATCH_ND SPLIT SVDF TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK
    """,
    5: """
        ABS ADD CAST DEQUANTIZE SUB
    """,
    6: """
        GATHER SLICE TRANSPOSE
    """,
    7: """
        CONV_2D DEPTHWISE_CONV_2D MUL
    """,
    8: """
        STRIDED_SLICE
    """,
    10: """
        FULLY_CONNECTED
    """,
}
"""Largest version -> the operators of which tflite-runtime 2.14.0 has it, and all before it.

Found by loading a file for each operator and version with the 2.14.0 wheel for x86-64; it agrees
with `core/kernels/register.cc` of TensorFlow 2.14. BROADCAST_TO alone begins at version 2.
"""

_LARGEST: dict[str, tuple[str, dict[str, int]]] = {
    "tflite-runtime": (
        "tflite-runtime 2.14",
        {
            name: version
            for version, names in _TFLITE_RUNTIME_2_14.items()
            for name in names.split()
        },
    )
}
"""runtime -> its name and version, and the largest version of every operator that it has.

LiteRT is not listed: the files are made by a converter and a schema of its own age."""


_FLOAT_ONLY = {"tflite-runtime": ("DIV",)}
"""runtime -> operators that it accepts in int8, and then cannot run"""


def needs(graph: Any) -> dict[str, int]:
    """Operator -> the largest version of it in the graph, in alphabetical order."""
    found: dict[str, int] = {}
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators or []:
            name = graphs.operator_name(graph, operator)
            found[name] = max(graphs.operator_version(graph, operator), found.get(name, 1))
    return dict(sorted(found.items()))


def check_runtime(graph: Any, runtime: str) -> None:
    """Raise ModelError where `runtime` is known not to have an operator, or its version."""
    if runtime not in _LARGEST:
        return
    release, largest = _LARGEST[runtime]
    for name, version in needs(graph).items():
        if name not in largest:
            raise ModelError(
                f"{release} does not have this operator",
                value=name,
                hint="export for litert, or replace the layer that needs it",
            )
        if version > largest[name]:
            raise ModelError(
                f"{release} does not have this operator version",
                value=f"{name} {version}, has {largest[name]}",
                hint="export for litert, or with another --quantize",
            )
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators or []:
            name = graphs.operator_name(graph, operator)
            types = {graphs.type_name(subgraph.tensors[i]) for i in graphs.indices(operator.inputs)}
            if name in _FLOAT_ONLY[runtime] and "INT8" in types:
                raise ModelError(
                    f"{release} does not have this operator in int8",
                    value=name,
                    hint="export for litert, or with --quantize dynamic",
                )
