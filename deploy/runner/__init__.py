r"""The program that runs artefacts on a device: standard library, numpy and a runtime.

`python -I runner.pyz COMMAND` (the zipapp that `deploy.runner.packing.pack` makes): verify, run,
bench or serve a bundle, keep versions of it (store), or `protocol`, which runs one artefact at a
time for another program. It reads JSON objects from standard input, one a line, and answers each
with a line on standard output: `{"ok": true, ...}`, or `{"ok": false, "kind": KIND, "error": ONE
LINE}`, after which it continues. KIND is `missing` (the runtime is not installed), `engine` (the
runtime refuses the artefact, or cannot run it) or `request` (the request cannot be served). The
runtime's own output goes to standard error. The program ends with `exit` or with its input. Arrays
go through files: inputs in an .npz (stored, not compressed) of an array (n, ...) for each input, by
the names that `load` answers; outputs in an .npy.

On another machine `deploy.runner.workspace` starts it at the end of an ssh connection, relays
requests and answers, and describes the machine.

{"op": "probe", "runtime": NAME}
    Whether the runtime can run here: litert, tflite-runtime, tflite-micro, onnxruntime, cuda or
    tensorrt.
    -> version, provider (of ONNX Runtime, else null), device (the accelerator, else null).
{"op": "load", "runtime": NAME, "path": FILE, "threads": COUNT, "cpus": [NUMBER, ...] or null,
 "graph": BOOL, "reference": BOOL}
    Loads an artefact, replacing the one before, with the process pinned to these processors;
    `graph` runs it as a CUDA graph, `reference` in the runtime's plain kernels, as it is written.
    -> runtime, version, provider, delegate (name, how many nodes it computes, of how many; or
    null), device, numpy, python, threads, cpus (that the process may use), import_ms (of the
    runtime), load_ms (of the artefact, until it can run), inputs and outputs (a list of
    name, shape, dtype, scale, zero_point, as in a description; shape has null where a size is
    open), arena_bytes (TFLite Micro: memory for tensors and the interpreter's structures; else
    null), peak_memory_bytes (of the process so far; 0 if unknown).
{"op": "predict", "inputs": FILE.npz, "outputs": FILE.npy, "batch": COUNT}
    Runs all n rows, COUNT at once, or in batches of the artefact's fixed size, and writes float32
    (n, k). Real numbers are quantised for integer inputs, integer outputs dequantised.
    -> shape ([n, k]), peak_memory_bytes.
{"op": "check", "vectors": FILE.check.npz, "batch": COUNT}
    Runs check vectors. -> passed, examples, difference (null: NaN or infinity), tolerance.
{"op": "warm_up", "seconds": MOST, "batch": COUNT, "inputs": FILE.npz or null, "copies": BOOL}
    Runs until the times settle. Inputs are batches of the file's rows in turn, repeated if they are
    too few; without a file random from 0 to 1 (integers: zeros). With `copies` a run
    takes inputs from numpy and gives outputs to it; without, both stay in the runtime's memory.
    -> first_ns (of the first run), runs, settled, median_ns, timer_ns and call_ns (what the clock,
    and the clock with an empty Python call, add to every time), peak_memory_bytes,
    device_memory_bytes (of the accelerator's, or null).
{"op": "measure", "warmup": COUNT, "runs": COUNT, "batch": COUNT, "inputs": FILE.npz or null,
 "copies": BOOL}
    One round: runs that do not count, then runs that do, fed as for `warm_up`.
    -> ns (a list, nanoseconds of each run), batch, peak_memory_bytes.
{"op": "stream", "runs": COUNT, "batch": COUNT, "inputs": FILE.npz or null, "copies": BOOL}
    Runs batches back to back, fed as for `warm_up`, timed together. -> examples, ns.
{"op": "exit"}
"""
