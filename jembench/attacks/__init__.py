"""Attacks: adversarial perturbations, eps in units of the [0, 1] pixel range."""
