"""The sparse predictor computes what the dense model does, without a dense kernel."""

import numpy as np
import pytest

from compressor.encodings import SparseKernel
from compressor.errors import CheckFailedError
from compressor.experiment import steps
from compressor.experiment.paper_checkpoint import write_sparse_checkpoint
from compressor.experiment.predictors import load_predictor
from compressor.models.layers import prunable_layers
from compressor.models.sparse_layers import SparseMatrix
from compressor.pruning import apply_masks, magnitude_prune


def sequential_cnn(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 5, padding="same", activation="relu", name="c1"),
            layers.MaxPooling2D(),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="c2"),
            layers.Flatten(),
            layers.Dense(20, activation="relu", name="f1"),
            layers.Dropout(0.5),
            layers.Dense(4, name="f2"),
        ]
    )


def skip_connection(keras):
    layers = keras.layers
    x = image = keras.Input((6, 6, 3))
    y = layers.Conv2D(3, 3, padding="same", activation="relu", name="c1")(x)
    x = layers.Add()([x, y])
    z = layers.Dense(3, activation="tanh", name="d1")(x)
    x = layers.Concatenate()([x, z])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, name="d2", activation="softmax")(x))


def strides_and_dilation(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((13, 11, 2)),
            layers.Conv2D(4, (3, 2), strides=2, padding="same", name="stride"),
            layers.Conv2D(4, (2, 3), padding="valid", activation="elu", name="valid"),
            layers.Conv2D(3, 2, dilation_rate=(2, 1), padding="same", name="dilated"),
            layers.Conv2D(3, 2, dilation_rate=2, padding="valid", name="dilated_valid"),
            layers.Conv2D(2, 2, strides=(1, 2), padding="valid", name="stride_valid"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )


def one_dimension(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((17, 2)),
            layers.Conv1D(4, 3, padding="same", name="same"),
            layers.Conv1D(4, 4, strides=2, padding="same", name="stride"),
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2, name="causal"),
            layers.Conv1D(3, 3, padding="valid", activation="sigmoid", name="valid"),
            layers.Conv1D(3, 2, strides=2, padding="causal", name="causal_stride"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )


def dense_on_sequences(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5, 7)),
            layers.Dense(6, activation="gelu", name="inner"),
            layers.Dense(2, name="narrow"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )


def batch_normalization(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(5, 3, name="conv", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.DepthwiseConv2D(2),
            layers.Flatten(),
            layers.LayerNormalization(),
            layers.Dense(3, name="out", use_bias=False),
        ]
    )


def nested(keras):
    layers = keras.layers

    def block(name):
        x = keras.Input((6, 6, 2))
        y = layers.Conv2D(2, 3, padding="same", name="conv")(x)
        y = layers.BatchNormalization(name="norm")(y)
        return keras.Model(x, layers.Add()([x, y]), name=name)

    head = keras.Sequential(
        [layers.Flatten(), layers.Dense(4, name="one"), layers.Dense(3, name="two")], name="head"
    )
    shared = block("shared")
    image = keras.Input((6, 6, 2))
    return keras.Model(image, head(block("last")(shared(shared(image)))))


def shared_layer(keras):
    layers = keras.layers
    shared = layers.Dense(6, activation="relu", name="shared")
    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(3, name="out")(shared(shared(x))))


def activation_layers(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((9,)),
            layers.Dense(6, activation=layers.LeakyReLU(negative_slope=0.3), name="a"),
            layers.Dense(6, activation=keras.activations.softplus, name="b"),
            layers.Dense(3, kernel_constraint="max_norm", kernel_regularizer="l2", name="c"),
        ]
    )


def two_of_a_name(keras):
    # These layers hold several variables called kernel, which must not be mixed up.
    layers = keras.layers
    x = keras.Input((5, 4))
    y = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    y = layers.Bidirectional(layers.GRU(2), name="both")(y)
    return keras.Model(x, layers.Dense(3, name="out")(y))


MODELS = [
    sequential_cnn,
    skip_connection,
    strides_and_dilation,
    one_dimension,
    dense_on_sequences,
    batch_normalization,
    nested,
    shared_layer,
    activation_layers,
    two_of_a_name,
]


def randomized(keras, build):
    """The model with no variable left at its initial value, so that none can be forgotten."""
    keras.utils.set_random_seed(11)
    model = build(keras)
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = generator.uniform(0.05, 0.3, weight.shape).astype(np.float32)
            weight.assign(weight.numpy() + noise * generator.choice([1, 0.5], weight.shape))
    return model


def prune(model, sparsity):
    kernels = {name: layer.kernel.numpy() for name, layer in prunable_layers(model).items()}
    apply_masks(model, {n: magnitude_prune(k, sparsity).mask for n, k in kernels.items()})


def difference(model, layers, path, batch=7):
    write_sparse_checkpoint(model, layers, path)
    predictor = load_predictor(path)
    assert predictor.kind == "sparse" and predictor.path == path
    assert predictor.input_shape == model.input_shape[1:]
    x = np.random.default_rng(1).normal(size=(batch, *predictor.input_shape)).astype(np.float32)
    found = predictor.predict(x)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    expected = np.asarray(model(x, training=False))
    assert found.shape == expected.shape
    assert np.ptp(expected) > 1e-3, "the test must see something"
    return np.abs(found - expected).max() / max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
@pytest.mark.slow
def test_all_layers_sparse(keras, tmp_path, build):
    model = randomized(keras, build)
    prune(model, 0.6)
    assert difference(model, ["all"], tmp_path / "sparse.npz") < 1e-5


@pytest.mark.sampled(1)
@pytest.mark.parametrize("build", [sequential_cnn, skip_connection, nested])
def test_one_layer_sparse(keras, tmp_path, build):
    model = randomized(keras, build)
    prune(model, 0.6)
    last = list(prunable_layers(model))[-1]
    assert difference(model, [last], tmp_path / "sparse.npz", batch=1) < 1e-5


@pytest.mark.slow
def test_a_kernel_of_which_nothing_is_left(keras, tmp_path):
    model = randomized(keras, sequential_cnn)
    for name in ("c2", "f2"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.zeros(kernel.shape))
    assert difference(model, ["all"], tmp_path / "sparse.npz") < 1e-5


def test_units_and_inputs_of_which_nothing_is_left(keras, tmp_path):
    model = randomized(keras, sequential_cnn)
    kernel = model.get_layer("f1").kernel.numpy()
    kernel[:, [0, 3, 19]] = 0
    kernel[[0, 5, 95]] = 0
    model.get_layer("f1").kernel.assign(kernel)
    assert difference(model, ["f1"], tmp_path / "sparse.npz") < 1e-5


@pytest.mark.slow
def test_more_rows_than_are_computed_at_a_time(keras, tmp_path):
    model = randomized(keras, sequential_cnn)
    prune(model, 0.6)
    assert difference(model, ["all"], tmp_path / "sparse.npz", batch=1100) < 1e-5


def test_no_kernel_is_made_dense(keras, tmp_path, monkeypatch):
    from compressor.experiment import predictors
    from compressor.foundation import quiet_tensorflow

    model = randomized(keras, sequential_cnn)
    prune(model, 0.9)
    expected = np.asarray(model(np.ones((2, 8, 8, 1), np.float32)))
    path = tmp_path / "sparse.npz"
    write_sparse_checkpoint(model, ["c2", "f1"], path)

    def refuse(*_):
        raise AssertionError("a kernel is made dense")

    monkeypatch.setattr(SparseKernel, "dense", refuse)
    built = []
    wrapped = predictors._sparse_model
    monkeypatch.setattr(
        predictors, "_sparse_model", lambda *a: built.append(wrapped(*a)) or built[-1]
    )
    found = load_predictor(path).predict(np.ones((2, 8, 8, 1), np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)

    held = {variable.path: int(np.prod(variable.shape)) for variable in built[0].weights}
    assert sum(held.values()) == (5 * 5 * 4 + 4) + 6 + 20 + (20 * 4 + 4)
    for name in ("c2", "f1"):
        layer = built[0].get_layer(name)
        assert not hasattr(layer, "kernel")
        nonzeros = np.count_nonzero(model.get_layer(name).kernel.numpy())
        assert layer.matrix._matrix.nnz == nonzeros
    # Nor does a constant of the graph hold one.
    tensorflow, _ = quiet_tensorflow.load()
    graph = tensorflow.function(lambda x: built[0](x)).get_concrete_function(
        tensorflow.TensorSpec((None, 8, 8, 1))
    )
    sizes = [
        operation.outputs[0].shape.num_elements() or 0
        for operation in graph.graph.get_operations()
        if operation.type == "Const"
    ]
    assert max(sizes) < 20


def test_an_adapted_normalization_keeps_its_statistics(keras, tmp_path):
    normalize = keras.layers.Normalization(axis=-1)
    inputs = np.random.default_rng(2).normal(5, 3, (64, 6)).astype(np.float32)
    normalize.adapt(inputs)
    model = keras.Sequential([keras.Input((6,)), normalize, keras.layers.Dense(3, name="out")])
    write_sparse_checkpoint(model, ["out"], tmp_path / "sparse.npz")
    sparse = load_predictor(tmp_path / "sparse.npz")
    np.testing.assert_allclose(sparse.predict(inputs), model.predict_on_batch(inputs), atol=1e-5)


@pytest.mark.slow
def test_a_sparse_network_that_predicts_something_else_is_no_result(keras, tmp_path, monkeypatch):
    model = sequential_cnn(keras)
    model.save(tmp_path / "model.keras")
    (tmp_path / "right").mkdir()
    assert steps.sparsify_step(tmp_path / "right", tmp_path / "model.keras", None, layers=["f1"])
    apply = SparseMatrix.apply
    monkeypatch.setattr(SparseMatrix, "apply", lambda self, rows: 1.01 * apply(self, rows))
    with pytest.raises(CheckFailedError, match="does not predict"):
        steps.sparsify_step(tmp_path, tmp_path / "model.keras", None, layers=["f1"])
