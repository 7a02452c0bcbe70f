"""Pages: what people read, from result documents alone."""
