"""Measurements: what asks a model, and turns a batch into per-example columns."""
