"""A small HTTP endpoint that classifies examples by the artefact of a bundle.

GET /          what is served: the bundle, its artefact, inputs, labels, accuracy as verified
GET /healthz   {"status": "ok", "sha256": of the bundle, ...}
POST /predict  a picture (image/png), an array (application/x-npy), an IDX file
               (application/octet-stream), or {"instances": [...]} (application/json): one example
               or n, as `run` takes them -> {"predictions": [...], ...}. For several inputs .npz, or
               instances that are objects: {"instances": [{"INPUT": [...], ...}, ...]}

Errors are {"error": ONE LINE} with 400 (malformed, or does not fit), 404, 405, 411, 413 (too many
bytes or examples), 415, 500 (the runtime failed), 505 or 503: with Retry-After for more requests at
once, or more bytes of them, than allowed; without, what was served is not trusted any more.

`application` knows nothing of sockets; `standard_server` serves it by the standard library,
`waitress_server` by waitress. They answer alike, but for a body that ends early: the one says so,
the other closes. `current` is what is served at the time, `trust` by whose keys.
"""
