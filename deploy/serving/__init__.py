"""A small HTTP endpoint that answers for examples with the artefact of a bundle.

GET /          what is served: the bundle, its artefact, inputs, labels, metrics as verified
GET /healthz   {"status": "ok", "sha256": of the bundle, ...}
POST /predict  a picture (image/png), an array (application/x-npy), an IDX file
               (application/octet-stream), or {"instances": [...]} (application/json): one example
               or n, as `run` takes them -> {"predictions": [...], ...}. For several inputs .npz, or
               instances that are objects: {"instances": [{"INPUT": [...], ...}, ...]}. A prediction
               is as `run --json` prints it, but a mask is a list of rows of class numbers

Errors are {"error": ONE LINE} with 400 (malformed, or does not fit), 404, 405, 411, 413 (too many
bytes or examples), 415, 421 (the Host is another), 500 (the runtime failed), 505 or 503: with
Retry-After if there are too many requests, or bytes of them, at once; without, if the bundle is no
longer trusted.

`application` knows nothing of sockets; `standard_server` serves it with the standard library,
`waitress_server` with waitress. They differ only for a body that ends early: the first one says so,
the second closes. `current` is the bundle that is served, `trust` has the keys, `hosts` the names
that are answered.
"""
