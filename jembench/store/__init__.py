"""The store: records and documents on disk, and where they come from."""
