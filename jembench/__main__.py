"""``python -m jembench``."""

from jembench.cli import main

if __name__ == "__main__":
    main()
