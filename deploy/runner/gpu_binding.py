"""A batch at fixed addresses in the GPU's memory, and the run of a session on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.errors import EngineError

_GRAPH_OPTION = "gpu_graph_id"
_NO_GRAPH = -1
_DEVICE = ("cuda", 0)  # TensorRT's memory is CUDA's, too


class GpuBinding:
    """Inputs and outputs of one batch size on the GPU, and the run between them.

    `graph` numbers the CUDA graph that captures the run; None captures none. The arrays fix the
    sizes of open axes; a first run finds those of the outputs.
    """

    def __init__(
        self,
        onnxruntime: Any,
        session: Any,
        inputs: Sequence[tuple[str, np.ndarray]],
        outputs: Sequence[str],
        graph: int | None,
    ) -> None:
        """Copy the inputs to the GPU and run once; with `graph` once more, to capture it.

        Raises EngineError if the memory is not the GPU's or the run cannot be captured, and what
        the runtime raises in the first run.
        """
        self._onnxruntime, self._session, self._graph = onnxruntime, session, graph
        self._binding = session.io_binding()
        self._inputs = [
            onnxruntime.OrtValue.ortvalue_from_numpy(array, *_DEVICE) for _, array in inputs
        ]
        for (name, _), value in zip(inputs, self._inputs):  # noqa: B905 - Python 3.9
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, *_DEVICE)
        self._binding.synchronize_inputs()
        self._options = self._run_options(_NO_GRAPH)
        self.run()
        # The outputs keep the memory that the runtime gave them.
        self._outputs = self._binding.get_outputs()
        for name, value in zip(outputs, self._outputs):  # noqa: B905 - Python 3.9
            self._binding.bind_ortvalue_output(name, value)
        self._check_memory()
        if graph is not None:
            self._capture()

    def update(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy other inputs of the same shapes to the same addresses."""
        for value, array in zip(self._inputs, arrays):  # noqa: B905 - Python 3.9
            value.update_inplace(array)
        self._binding.synchronize_inputs()

    def run(self) -> None:
        """Run once; returns when the GPU has finished."""
        self._session.run_with_iobinding(self._binding, self._options)
        # A run already ends with this, unless an option says otherwise; then it costs microseconds.
        self._binding.synchronize_outputs()

    def outputs(self) -> list[np.ndarray]:
        return [value.numpy() for value in self._outputs]

    def _capture(self) -> None:
        self._options = self._run_options(self._graph)
        try:
            self.run()
        # Its errors have no common base.
        except Exception as error:
            raise EngineError("the run cannot be captured as a CUDA graph", value=error) from error

    def _run_options(self, graph: int | None) -> Any:
        """The options of a run; None in a session without CUDA graphs."""
        if self._graph is None:
            return None
        options = self._onnxruntime.RunOptions()
        options.add_run_config_entry(_GRAPH_OPTION, str(graph))
        return options

    def _check_memory(self) -> None:
        places = {value.device_name().lower() for value in (*self._inputs, *self._outputs)}
        if "cpu" in places:
            raise EngineError("inputs or outputs are not in the GPU's memory", value=sorted(places))
