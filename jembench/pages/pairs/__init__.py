"""Pairs: two results on the same images, held against each other metric by metric.

- Here: a side of a comparison with its examples, whether two may be compared, the paired difference of one metric.
- Never: a table, a verdict: compare, leaderboard and gate have theirs.
- A new one: a metric whose per-example scalars are published gets a test in `differences`.
"""
