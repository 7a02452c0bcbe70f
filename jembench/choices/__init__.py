"""Choices: what a user names, and what it stands for: suites, protocols, batteries, samples, published numbers."""
