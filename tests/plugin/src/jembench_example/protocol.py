"""A protocol that measures accuracy and nothing else."""

from jembench.choices.protocols import Protocol

ACCURACY_ONLY = Protocol("accuracy-only", evaluators=("accuracy",))
