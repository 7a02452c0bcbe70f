"""CITATION.cff says what the package says of itself; `tox -e docs` holds it against the schema."""

import tomllib
from pathlib import Path

import yaml

from jembench.version import __version__

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_package_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/1912.03263"
    assert paper["authors"][0]["family-names"] == "Grathwohl"
