"""Training: one loop for every recipe, and its parts.

- Here: streams, objective, optimisers, supervisor, snapshots, validation, teams of processes.
- Never: the evaluation of a finished model; a special case for one recipe.
- A new one: a part is a module that the loop calls for every recipe, its settings fields of `models.recipes`.
"""
