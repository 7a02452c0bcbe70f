"""Training: one loop for every recipe, and its parts."""
