"""Langevin: SGLD chains, where they start, how they are kept, annealed importance sampling.

- Here: the one chain of the project, and what is made of chains alone.
- Never: a class of models (a chain sees a function of images), a file, a data set.
- A new one: a module with its kernel as an equation; its noise comes from a generator that is passed.
"""
