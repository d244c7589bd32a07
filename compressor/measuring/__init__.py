"""Measuring artefacts in their runtimes: what is run, how, and what the numbers say.

`subjects` are the files, `cases` the rows of the table (an artefact in a runtime, with threads and
a batch), `case_process` is one of them at work, `session` measures those of one table in turns,
`proof` says whether a case computes what its artefact's description promises, `record` turns what
was measured into a JSON object, and `results_file` keeps it.
"""
