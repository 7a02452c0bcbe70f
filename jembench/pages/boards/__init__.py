"""Boards: leaderboards before they have a format, from result folders alone.

- Here: which results share a table and which do not, ranks that tests have shown, tables, formats.
- Never: a model, an image set, torch; a ranking across protocols.
- A new one: a format is a function of a `Board`.
"""
