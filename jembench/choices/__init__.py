"""Choices: what a user asks for, and what it stands for.

- Here: requests with every option, suites, protocols, batteries, samples, published numbers.
- Never: work: nothing here loads a model or an image; tables.
- A new one: an option is a field of `request`; a suite is a line in `SUITES`, a protocol one in `PROTOCOLS`.
"""
