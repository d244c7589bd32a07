"""What the serving function of a SavedModel would do, found out before it is run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compressor.errors import ModelError
from compressor.importing.saved_model import damaged, saved_graph

SIGNATURE = "serving_default"

# TensorFlow operations that compute, and do nothing else: no files, no Python, no network.
_COMPUTING = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool
    AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BroadcastArgs
    BroadcastTo Bucketize Cast Ceil ClipByValue Complex Concat ConcatOffset ConcatV2 Const
    Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cosh CropAndResize Cumprod
    Cumsum DenseBincount DepthToSpace DepthwiseConv2dNative DivNoNan Einsum Elu EnsureShape
    Equal Erf Erfc Exp ExpandDims Expm1 ExtractImagePatches Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater
    GreaterEqual Identity IdentityN If ImageProjectiveTransformV2 ImageProjectiveTransformV3
    InTopK InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu Less LessEqual LinSpace
    Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag
    MatrixDiagPartV3 MatrixDiagV3 Max MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Maximum Mean
    Min Minimum MirrorPad Mod Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    PartitionedCall Placeholder PlaceholderWithDefault Pow PreventGradient Prod
    RandomStandardNormal RandomUniform RandomUniformInt Range Rank ReadVariableOp RealDiv
    Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    ResourceGather ResourceGatherNd Reverse ReverseSequence ReverseV2 Rint Roll Round Rsqrt
    ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference
    Squeeze StatefulPartitionedCall StatelessIf StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormalV2
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormalV2
    StatelessWhile StopGradient StridedSlice Sub Sum Tan Tanh TensorListElementShape
    TensorListFromTensor TensorListGetItem TensorListLength TensorListReserve TensorListSetItem
    TensorListStack TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod
    TruncatedNormal Unique UniqueV2 Unpack UnsortedSegmentSum VarHandleOp VarIsInitializedOp
    Where While Xdivy Xlogy ZerosLike
    """.split()  # noqa: SIM905
)
# What restores variables from the checkpoint, and what writes one, which stays unused.
_RESTORING = frozenset(("RestoreV2", "AssignVariableOp"))
_SAVING = frozenset(
    ("SaveV2", "MergeV2Checkpoints", "ShardedFilename", "StaticRegexFullMatch", "StringJoin")
)


def check_serving(path: Path) -> list[str]:
    """The tags of a SavedModel of which loading and calling its serving function only compute.

    Raises ModelError for any other.

    Checked are all operations that TensorFlow 1's loader and the function can reach: of the
    function and of initialisation only those that compute, of restoring those that read the
    checkpoint and assign variables, too.
    """
    graph = saved_graph(path)
    with damaged(path):
        found = _Reachable(graph.graph_def)
        signature = graph.signature_def.get(SIGNATURE)
        outputs = [] if signature is None else [o.name for o in signature.outputs.values()]
        restored = [graph.saver_def.restore_op_name]
        started = [o.name for o in graph.signature_def["__saved_model_init_op"].outputs.values()]
        for key in ("saved_model_main_op", "legacy_init_op"):
            started += graph.collection_def[key].node_list.value
        every = {node.op for node in graph.graph_def.node} - found.functions.keys()
        odd = sorted(
            found.from_nodes([*outputs, *started]) - _COMPUTING
            | found.from_nodes(restored) - _COMPUTING - _RESTORING
            | every - _COMPUTING - _RESTORING - _SAVING
            | set(graph.asset_file_def and ["a file as an asset"])
        )
    if not outputs:
        raise ModelError(
            "the SavedModel has no serving function to compare with",
            value=path,
            hint="call the model once, and save it again with model.save",
        )
    if odd:
        raise ModelError(
            "the SavedModel would do more than compute, and is not run",
            value=f"{', '.join(odd[:5])} in {path}",
            hint="save the model as .h5 or .keras in the Keras that made it",
        )
    return list(graph.meta_info_def.tags)


class _Reachable:
    """The operations of a graph that others need or call."""

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self.functions = {f.signature.name: f for f in graph.library.function}

    def from_nodes(self, names: Iterable[str]) -> set[str]:
        """The operations, but calls of functions, that running these nodes or tensors may run."""
        found: set[str] = set()
        waiting, seen = [self._nodes.get(_node(name)) for name in names if name], set()
        called: list[str] = []
        while waiting:
            node = waiting.pop()
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            called += self._note(node, found)
            waiting += [self._nodes.get(_node(name)) for name in node.input]
        done: set[str] = set()
        while called:
            name = called.pop()
            if name in done or name not in self.functions:
                continue
            done.add(name)
            for node in self.functions[name].node_def:
                called += self._note(node, found)
        return found

    def _note(self, node: Any, found: set[str]) -> list[str]:
        """Note the operation of a node; the functions that it may call."""
        called = [value.func.name for value in node.attr.values() if value.HasField("func")]
        called += [f.name for value in node.attr.values() for f in value.list.func]
        if node.op in self.functions:
            return [*called, node.op]
        found.add(node.op)
        return called


def _node(name: str) -> str:
    """The node of a tensor NODE:NUMBER or a dependency ^NODE."""
    return name.removeprefix("^").partition(":")[0]
