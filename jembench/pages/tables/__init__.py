"""Tables: what a result says, before and after it has a format."""
