"""Tables: what a result says, before and after it has a format.

- Here: functions from result documents to `Table`s, and the formats of tables.
- Never: torch, matplotlib; arithmetic on records.
- A new one: a function from documents to tables that an evaluator names; a format is a line in `EXPORTERS`.
"""
