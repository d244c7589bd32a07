r"""The program that runs artefacts on a device: standard library, numpy and a runtime.

`python -I runner.pyz COMMAND` (the zipapp that `deploy.runner.packing.pack` makes): verify, run,
bench or serve a bundle, keep versions of it (store), or `protocol`, one artefact in one runtime for
the program that asks: it reads one JSON object a line from standard input and answers each with one
line on standard output:
`{"ok": true, ...}`, or `{"ok": false, "kind": KIND, "error": ONE LINE}`, after which it goes on.
KIND is `missing` (the runtime is not there), `engine` (the runtime refuses the artefact, or cannot
run it) or `request` (the request cannot be served). What the runtime itself prints goes to standard
error. The program ends with `exit` or with its input. Arrays go through files: inputs in an .npz
(stored, not compressed) of one array (n, ...) an input, by the names that `load` answers; outputs
in an .npy.

On another machine `deploy.runner.workspace` starts it at the end of an ssh connection, passes
requests and answers on, and says what that machine is.

{"op": "probe", "runtime": NAME}
    Whether the runtime can run here. NAME: litert, tflite-runtime, onnxruntime, cuda, tensorrt.
    -> version, provider (of ONNX Runtime, else null), device (the accelerator, else null).
{"op": "load", "runtime": NAME, "path": FILE, "threads": COUNT, "cpus": [NUMBER, ...] or null,
 "graph": BOOL}
    Loads an artefact in the place of the one before, with the process kept to these processors;
    `graph` is to run it as a CUDA graph.
    -> runtime, version, provider, delegate (name, and how many nodes it computes of how many, or
    null), device, numpy, python, threads, cpus (that the process may use), import_ms (of the
    runtime), load_ms (of the artefact, until it can run), inputs and outputs (a list of
    name, shape, dtype, scale, zero_point, as in a description; shape has null where a size is
    open), peak_memory_bytes (of the process up to now; 0 where it cannot be read).
{"op": "predict", "inputs": FILE.npz, "outputs": FILE.npy, "batch": COUNT}
    Runs all n rows, COUNT at once, or as many as the artefact was made for where that is fixed, and
    writes float32 (n, k). Real numbers are quantised for integer inputs, integer outputs turned
    back. -> shape ([n, k]), peak_memory_bytes.
{"op": "check", "vectors": FILE.check.npz, "batch": COUNT}
    Runs check vectors. -> passed, examples, difference (null: no numbers), tolerance.
{"op": "warm_up", "seconds": MOST, "batch": COUNT, "inputs": FILE.npz or null, "copies": BOOL}
    Runs until the median of the runs settles. Inputs are batches of the file's rows, in turns, and
    repeated where they are too few; else random in 0 to 1 (integers: zeros). With `copies` a run
    takes inputs from numpy and gives outputs to it; without, both stay in the runtime's memory.
    -> first_ns (of the first run), runs, settled, median_ns, timer_ns and call_ns (what the clock,
    and the clock and an empty Python call, add to every time), peak_memory_bytes,
    device_memory_bytes (of the accelerator's, or null).
{"op": "measure", "warmup": COUNT, "runs": COUNT, "batch": COUNT, "inputs": FILE.npz or null,
 "copies": BOOL}
    One round: runs that are not counted, then runs that are; fed as for `warm_up`.
    -> ns (a list, nanoseconds of each run), batch, peak_memory_bytes.
{"op": "stream", "runs": COUNT, "batch": COUNT, "inputs": FILE.npz or null, "copies": BOOL}
    Runs one batch after the other, fed as for `warm_up`, timed in all. -> examples, ns.
{"op": "exit"}
"""
