"""Pictures: drawn from results and records.

- Here: functions that return the bytes of a PNG; what they share is in `plots`.
- Never: a number that is nowhere else; a file that they write themselves.
- A new one: a function from a result to bytes that an evaluator names.
"""
