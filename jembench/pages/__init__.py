"""Pages: what people read, from result documents alone.

- Here: leaderboard, card, journal, comparison, gate, seeds; below them tables and pictures.
- Never: a model, an image set, a plan; torch.
- A new one: an evaluator names its tables and pictures; a page of several results is a module here.
"""
