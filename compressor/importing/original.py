"""What the file itself computes: run as a program, in a process that may use Keras 2.

    python -I original.py h5 FILE FOLDER TF_KERAS      tf_keras, from the folder TF_KERAS
    python -I original.py saved_model FILE FOLDER      the serving function of a SavedModel

FOLDER has inputs.npz, arrays ROUND-NUMBER in the order of the model's inputs, named in names.json
for a SavedModel. Written there: outputs.npz, ROUND-NUMBER or ROUND-NAME, and with tf_keras what it
makes of the file: source.json, with the configuration and the shapes of each layer's weights, and
weights.npz, all their values in this order.
This file imports nothing of this project.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

_MOST_BYTES = 4 * 2**30
"""of memory, beside 16 times the model's files"""


def _rounds(folder: Path) -> list[list[Any]]:
    import numpy as np

    found: dict[int, list[Any]] = {}
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        names = sorted(arrays.files, key=lambda name: [int(part) for part in name.split("-")])
        for name in names:
            found.setdefault(int(name.split("-")[0]), []).append(arrays[name])
    return list(found.values())


def _from_h5(path: str, folder: Path, tf_keras_folder: str) -> dict[str, Any]:
    import numpy as np

    sys.path.insert(0, tf_keras_folder)
    tf_keras = importlib.import_module("tf_keras")

    model = tf_keras.models.load_model(path, compile=False)
    source = {"class_name": type(model).__name__, "config": model.get_config()}
    values, layers = [], []
    for layer in model.layers:
        weights = layer.trainable_weights + layer.non_trainable_weights
        layers.append([layer.name, [list(weight.shape) for weight in weights]])
        values += [weight.numpy().astype(np.float32).ravel() for weight in weights]
    np.savez(folder / "weights.npz", values=np.concatenate([*values, np.empty(0, np.float32)]))
    text = json.dumps({**source, "layers": layers}, default=str)
    (folder / "source.json").write_text(text)
    found = {}
    for number, inputs in enumerate(_rounds(folder)):
        outputs = model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0])
        for place, output in enumerate(_flat(outputs)):
            found[f"{number}-{place}"] = np.ascontiguousarray(output)
    return found


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _from_saved_model(path: str, folder: Path) -> dict[str, Any]:
    import numpy as np

    tensorflow = importlib.import_module("tensorflow")

    tags, names = json.loads((folder / "names.json").read_text())
    v1, found = tensorflow.compat.v1, {}
    with tensorflow.Graph().as_default(), v1.Session() as session:
        # The loader of TensorFlow 1 runs what is in the graph: it needs no class of Keras.
        loaded = v1.saved_model.load(session, tags, path)
        signature = loaded.signature_def["serving_default"]
        given = {name: info.name for name, info in signature.inputs.items()}
        if set(names) != set(given) and len(given) == 1:
            names = list(given)
        fetched = {name: info.name for name, info in signature.outputs.items()}
        for number, inputs in enumerate(_rounds(folder)):
            feed = {given[name]: array for name, array in zip(names, inputs, strict=True)}
            for name, output in session.run(fetched, feed).items():
                found[f"{number}-{name}"] = np.ascontiguousarray(output)
    return found


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    kind, path, folder, *more = sys.argv[1:]
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_HOME=folder, TMPDIR=folder
    )
    try:
        import resource

        most = _MOST_BYTES + 16 * _size(Path(path))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ImportError, OSError, ValueError):  # not on this system
        pass
    place = Path(folder)
    found = _from_h5(path, place, *more) if kind == "h5" else _from_saved_model(path, place)
    import numpy as np

    np.savez(place / "outputs.npz", **found)


if __name__ == "__main__":
    main()
