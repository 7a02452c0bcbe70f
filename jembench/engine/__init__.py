"""The engine: which chunks a result needs, how they are computed, and the result of them."""
