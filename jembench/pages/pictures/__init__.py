"""Pictures: drawn from results and records.

- Here: functions that return a figure; `plots` and `grids` hold what they share, `style` how it looks and is rendered.
- Never: a number that is nowhere else; a file that they write themselves; `pyplot` or another global state.
- A new one: a function from a result to a figure, or to None, that an evaluator names.
"""
