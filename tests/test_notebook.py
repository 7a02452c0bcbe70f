"""The notebook of docs/, executed; and what a result shows there."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"


@pytest.mark.timeout(600)
def test_the_tour_runs_and_shows_tables_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOUR.parents[1]))
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.data for output in outputs if output.output_type in ("execute_result", "display_data")]
    html = [page["text/html"] for page in pages if "text/html" in page]
    assert sum("jembench" in page for page in html) >= 2
    assert sum("image/png" in page for page in pages) == 1
    for page in pages:
        if "jembench" in page.get("text/html", ""):
            assert len(page["text/plain"].splitlines()) <= 20
    assert not [output for output in outputs if output.output_type == "error"]
    assert "softmax" in str(pages[-1])  # the slip is named
