"""Langevin: SGLD chains, where they start, how they are kept, and annealed importance sampling."""
