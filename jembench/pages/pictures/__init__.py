"""Pictures: drawn from results and records."""
