"""The ground: small things that know no word of the domain.

- Here: files, hashes, seeds, generators, progress, families (registries), repairs of third parties, a user's code.
- Never: a track, a model, a measurement; a number that a result holds.
- A new one: a module that two wings need and that imports none of them; torch only where it is used.
"""
