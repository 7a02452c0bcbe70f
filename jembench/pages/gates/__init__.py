"""Gates: whether a fresh result is as good as a golden one, and how a build is told.

- Here: the rule of a gate, its verdict, and the verdict as text, markdown, JUnit, JSON and annotations of GitHub.
- Never: a measurement; where a golden result lies.
- A new one: a format is a function from a `GateVerdict` to text in a module here, and an option of `cli/judge.py`.
"""
