"""Feature extractors: who is for which track, and what its distances may be called."""

import pytest

from jembench import data, models
from jembench.types import UserError
from jembench.zoo import baselines
from jembench.zoo.extractors import EXTRACTORS, of_track, recipe_path


def test_only_the_inception_network_has_an_fid() -> None:
    assert {name for name, item in EXTRACTORS.items() if item.distance == "fid"} == {"inception-v3"}
    assert {name for name, item in EXTRACTORS.items() if item.kernel == "kid"} == {"inception-v3"}


@pytest.mark.parametrize("track", data.TRACKS)
def test_the_extractor_of_a_track_is_for_it(track: str) -> None:
    description = data.track(track)
    assert of_track(description.extractor, description) == EXTRACTORS[description.extractor]
    assert of_track("inception-v3", description).general


def test_what_is_refused() -> None:
    digits, gauss = data.track("digits"), data.track("gauss")
    with pytest.raises(UserError, match=r"^unknown extractor 'inception'; did you mean 'inception-v3'\?"):
        of_track("inception", digits)
    with pytest.raises(UserError, match=r"'pixels' is not for track digits: choose one of digits-ref, inception-v3$"):
        of_track("pixels", digits)
    with pytest.raises(UserError, match=r"'digits-ref' is not for track gauss: choose one of pixels, inception-v3$"):
        of_track("digits-ref", gauss)


def test_every_extractor_is_code_or_has_its_files() -> None:
    for name in EXTRACTORS:
        if name not in models.KINDS:
            assert recipe_path(name, data.track("digits")).is_file()
            assert (recipe_path(name, data.track("digits")).parent / baselines.WEIGHTS).is_file()


def test_an_extractor_is_evaluated_nowhere() -> None:
    """No leaderboard may rank the one who judges."""
    for track in data.TRACKS:
        assert not set(EXTRACTORS) & set(baselines.names(track))
