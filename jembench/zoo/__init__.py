"""The zoo: from a name to a model with weights."""
