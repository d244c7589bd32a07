"""The layers of Keras that do something in inference, each in a tiny model of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CHANNELS = 8
BEFORE, LAYER = "before", "layer"
"""names of the layer in front, which makes the channels, and of the layer in question"""

FLAT, ROWS, IMAGE, VOLUME = (5,), (6, 3), (10, 10, 3), (6, 6, 6, 3)
FRAMES = {1: (3, 6, 3), 2: (3, 6, 6, 3), 3: (3, 4, 4, 4, 3)}


@dataclass(frozen=True)
class Entry:
    """A layer, and how to build a model with it."""

    section: str
    name: str
    """the class, with what is special about it"""
    shape: tuple[int, ...]
    """of the model's input, without the batch"""
    make: Callable[[Any, str], Any]
    """keras.layers, name -> the layer"""
    inputs: int = 1
    """how many tensors it takes; 0: the model's input itself, with no layer in front"""
    call: Callable[[Any, list[Any]], Any] | None = None
    """layer, tensors -> the output; None: called with the tensor, or the list of them"""
    integers: int | None = None
    """the model takes whole numbers below this"""

    def model(self, keras: Any) -> Any:
        """Build it: input, Dense of CHANNELS units, the layer, and Dense of 4."""
        layers = keras.layers
        keras.utils.set_random_seed(7)
        given = keras.Input(self.shape, dtype="float32" if self.integers is None else "int32")
        names = [BEFORE, "beside", "behind"][: self.inputs]
        tensors = [layers.Dense(CHANNELS, "relu", name=name)(given) for name in names] or [given]
        layer = self.make(layers, LAYER)
        if self.call is not None:
            x = self.call(layer, tensors)
        else:
            x = layer(tensors[0] if len(tensors) == 1 else tensors)
        if len(x.shape) > 2:
            x = layers.Flatten()(x)
        model = keras.Model(given, layers.Dense(4, name="out")(x))
        generator = np.random.default_rng(1)
        for variable in model.trainable_weights:
            one = 1.0 if variable.name == "gamma" else 0.0
            variable.assign(generator.normal(one, 0.3, variable.shape))
        return model

    def examples(self, count: int) -> np.ndarray:
        """Inputs of the model, (count, *shape): normal, or whole numbers."""
        generator = np.random.default_rng(2)
        if self.integers is not None:
            return generator.integers(0, self.integers, (count, *self.shape)).astype(np.int32)
        return generator.normal(size=(count, *self.shape)).astype(np.float32)


def _entry(section: str, kind: str, shape: tuple[int, ...], *given: Any, **options: Any) -> Entry:
    """An entry of the class `kind`, called with `given` and `options`; in them `_` is the entry's:
    `inputs_`, `call_`, `integers_`, and `as_`, what is put behind its name."""
    own = {key[:-1]: options.pop(key) for key in list(options) if key.endswith("_")}
    label = f"{kind}{own.pop('as', '')}"

    def make(layers: Any, name: str) -> Any:
        arguments = [value(layers) if callable(value) else value for value in given]
        return getattr(layers, kind)(*arguments, name=name, **options)

    return Entry(section, label, shape, make, **own)


def _each(section: str, kind: str, *given: Any, **options: Any) -> list[Entry]:
    """An entry for each of the dimensions 1, 2 and 3: `kind` has {} for the number."""
    shapes = {1: ROWS, 2: IMAGE, 3: VOLUME}
    return [_entry(section, kind.format(n), shapes[n], *given, **options) for n in (1, 2, 3)]


def _core() -> list[Entry]:
    where = "Core"
    return [
        _entry(where, "Dense", FLAT, 6, "relu"),
        _entry(where, "EinsumDense", ROWS, "abc,cd->abd", (6, 5), as_=" on the last axis"),
        _entry(where, "EinsumDense", ROWS, "abc,cde->abde", (6, 2, 3), as_=" over several axes"),
        _entry(where, "Embedding", (6,), 20, 5, inputs_=0, integers_=20),
        _entry(where, "ReversibleEmbedding", (6,), 20, 5, inputs_=0, integers_=20),
        _entry(where, "Activation", IMAGE, "gelu"),
        _entry(where, "Lambda", FLAT, lambda layers: lambda x: x * 2.0),
        _entry(where, "Masking", ROWS),
        _entry(where, "Identity", FLAT),
        _entry(where, "SpectralNormalization", FLAT, lambda layers: layers.Dense(6)),
        _entry(where, "TimeDistributed", ROWS, lambda layers: layers.Dense(5), as_=" of Dense"),
        _entry(
            where,
            "TimeDistributed",
            FRAMES[2],
            lambda layers: layers.Conv2D(4, 3),
            as_=" of a convolution",
        ),
    ]


def _convolutions() -> list[Entry]:
    where = "Convolutions"
    return [
        *_each(where, "Conv{}D", 6, 3),
        *_each(where, "Conv{}D", 6, 3, groups=2, as_=" in groups"),
        *_each(where, "Conv{}DTranspose", 6, 3),
        *_each(where, "DepthwiseConv{}D", 3)[:2],
        *_each(where, "SeparableConv{}D", 6, 3)[:2],
    ]


def _recurrent() -> list[Entry]:
    where = "Recurrence and attention"
    both = {"inputs_": 2}
    return [
        *(_entry(where, kind, ROWS, 5) for kind in ("LSTM", "GRU", "SimpleRNN")),
        _entry(where, "RNN", ROWS, lambda layers: [layers.LSTMCell(5), layers.GRUCell(4)]),
        _entry(where, "Bidirectional", ROWS, lambda layers: layers.LSTM(4)),
        *(_entry(where, f"ConvLSTM{n}D", FRAMES[n], 4, 3) for n in (1, 2, 3)),
        _entry(where, "MultiHeadAttention", ROWS, 2, 4, **both, call_=lambda a, x: a(x[0], x[1])),
        _entry(
            where, "GroupQueryAttention", ROWS, 4, 4, 2, **both, call_=lambda a, x: a(x[0], x[1])
        ),
        *(_entry(where, kind, ROWS, **both) for kind in ("Attention", "AdditiveAttention")),
    ]


def _elementwise() -> list[Entry]:
    where = "Normalisation and activations"
    return [
        _entry(where, "BatchNormalization", IMAGE),
        _entry(where, "LayerNormalization", IMAGE),
        _entry(where, "GroupNormalization", IMAGE, 2),
        _entry(where, "RMSNormalization", IMAGE),
        _entry(where, "UnitNormalization", IMAGE),
        *(_entry(where, kind, IMAGE) for kind in ("ReLU", "LeakyReLU", "ELU", "Softmax")),
        _entry(where, "PReLU", IMAGE),
        _entry(where, "PReLU", IMAGE, shared_axes=[1, 2], as_=" with shared axes"),
        *(
            _entry(where, kind, IMAGE, 0.3)
            for kind in ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")
        ),
        *_each(where, "SpatialDropout{}D", 0.3),
        _entry(where, "ActivityRegularization", FLAT),
    ]


def _shapes() -> list[Entry]:
    where = "Pooling and shapes"
    pooled = [f"Global{kind}Pooling" for kind in ("Max", "Average")]
    return [
        *_each(where, "MaxPooling{}D", 2),
        *_each(where, "AveragePooling{}D", 2),
        *(entry for kind in pooled for entry in _each(where, kind + "{}D")),
        *(
            entry
            for kind in ("AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D")
            for entry in _each(where, kind, 2)
        ),
        *(
            entry
            for kind in ("Cropping{}D", "ZeroPadding{}D", "UpSampling{}D")
            for entry in _each(where, kind)
        ),
        _entry(where, "UpSampling2D", IMAGE, interpolation="bilinear", as_=", bilinear"),
        _entry(where, "Flatten", IMAGE),
        _entry(where, "Reshape", IMAGE, (100, CHANNELS)),
        _entry(where, "Permute", IMAGE, (2, 1, 3)),
        _entry(where, "RepeatVector", FLAT, 3),
    ]


def _merging() -> list[Entry]:
    where = "Merging"
    kinds = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    return [
        *(_entry(where, kind, IMAGE, inputs_=2) for kind in kinds),
        _entry(where, "Dot", FLAT, 1, inputs_=2),
    ]


def _preprocessing() -> list[Entry]:
    where = "Preprocessing"
    first = {"inputs_": 0}
    scaled = {"value_range": (0.0, 1.0), **first}
    return [
        _entry(where, "Rescaling", IMAGE, 1 / 255, **first),
        _entry(
            where, "Normalization", IMAGE, mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0], **first
        ),
        _entry(where, "Resizing", IMAGE, 6, 6, **first),
        _entry(where, "CenterCrop", IMAGE, 6, 6, **first),
        # Keras crops in training only: behind another size no Dense could follow.
        _entry(where, "RandomCrop", IMAGE, 10, 10, **first),
        _entry(where, "RandomFlip", IMAGE, **first),
        *(
            _entry(where, f"Random{kind}", IMAGE, 0.2, **first)
            for kind in ("Rotation", "Zoom", "Contrast", "Brightness")
        ),
        _entry(where, "RandomTranslation", IMAGE, 0.2, 0.2, **first),
        *(
            _entry(where, kind, IMAGE, **scaled)
            for kind in ("RandomColorJitter", "RandomErasing", "RandAugment")
        ),
        *(
            _entry(where, kind, IMAGE, **first)
            for kind in ("RandomGrayscale", "RandomShear", "RandomPerspective", "MixUp", "CutMix")
        ),
        *(
            _entry(where, kind, IMAGE, 0.2, **scaled)
            for kind in ("RandomColorDegeneration", "RandomHue", "RandomSaturation")
        ),
        *(
            _entry(where, kind, IMAGE, **scaled)
            for kind in ("RandomInvert", "RandomGaussianBlur", "RandomElasticTransform", "AugMix")
        ),
        _entry(where, "RandomSharpness", IMAGE, 0.2, **scaled),
        _entry(where, "RandomPosterization", IMAGE, 4, **scaled),
        *(
            _entry(where, kind, IMAGE, **scaled)
            for kind in ("Solarization", "AutoContrast", "Equalization")
        ),
        _entry(where, "Discretization", FLAT, bin_boundaries=[-0.5, 0.0, 0.5], **first),
        _entry(where, "CategoryEncoding", (6,), 20, "multi_hot", inputs_=0, integers_=20),
        _entry(where, "IntegerLookup", (6,), vocabulary=[3, 5, 7], inputs_=0, integers_=20),
        _entry(where, "Hashing", (6,), 8, inputs_=0, integers_=20),
        _entry(
            where, "STFTSpectrogram", (64, 1), frame_length=16, frame_step=8, fft_length=16, **first
        ),
        _entry(
            where,
            "MelSpectrogram",
            (256,),
            fft_length=64,
            sequence_stride=32,
            sampling_rate=8000,
            max_freq=4000,
            num_mel_bins=8,
            min_freq=20,
            **first,
        ),
    ]


ENTRIES = [
    *(_core() + _convolutions() + _recurrent() + _elementwise()),
    *(_shapes() + _merging() + _preprocessing()),
]

ELSEWHERE = {
    "Layer, Wrapper, InputLayer, Pipeline": "have no work of their own",
    "LSTMCell, GRUCell, SimpleRNNCell, StackedRNNCells": "run inside RNN",
    "StringLookup, TextVectorization, HashedCrossing": "take strings, or give them to a table",
    "TFSMLayer, JaxLayer, FlaxLayer, TorchModuleWrapper": "run code of another framework",
    "MaxNumBoundingBoxes": "works on boxes, which no classifier has",
    "ContrastLimitedAdaptiveHistogramEqualization": "wants larger images than a tiny model has",
}
"""Layers of Keras that are not in the table -> why."""
