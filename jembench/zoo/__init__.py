"""The zoo: from a reference to a model with weights.

- Here: references, the catalogue, baselines, libraries, official checkpoints, users' models, files of weights.
- Never: an evaluation; the training loop.
- A new one: a form of reference is one in `references.parse`, and one way to resolve it in `catalogue`.
"""
