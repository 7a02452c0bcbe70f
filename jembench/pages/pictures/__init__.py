"""Pictures: drawn from results and records.

- Here: functions that return a figure; what they share is in `plots` and `grids`, how it looks and is rendered in `style`.
- Never: a number that is nowhere else; a file that they write themselves; `pyplot` or another global state.
- A new one: a function from a result to a figure, or to None, that an evaluator names.
"""
