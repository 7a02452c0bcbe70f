"""What tests of metrics share."""

from collections.abc import Callable

import pytest


@pytest.fixture
def refused() -> Callable[..., None]:
    """A function that holds a call to its error: a ValueError of one line with these words."""

    def refused(words: str, call: Callable[..., object], *arguments: object, **options: object) -> None:
        with pytest.raises(ValueError, match=rf"^[^\n]*{words}[^\n]*$"):
            call(*arguments, **options)

    return refused
