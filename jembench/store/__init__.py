"""The store: records, results and histories on disk, and where they come from.

- Here: reading and writing of what is kept, validated; the shelf of named results; `provenance`.
- Never: the arithmetic of a metric; what a column means.
- A new one: a document is a pydantic model with a schema version, written by `ground.files` alone.
"""
