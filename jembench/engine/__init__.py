"""The engine: from a request to results.

- Here: plans of chunks, executors, the bench that computes and assembles, `measure`, saved adversarials.
- Never: what a number means: that is the evaluators'; how it looks: that is the pages'.
- A new one: whoever wants numbers builds a `Request` and calls `measure.measure`; there is no second way.
"""
