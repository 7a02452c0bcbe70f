"""Site: leaderboards as pages that one looks at, and one page for a single run.

- Here: views of boards and models, pictures as SVG, templates, the style sheet and the script of the pages.
- Never: a test, a rank or a number that a board or a result does not have; an address outside of the site.
- A new one: a picture is a function of a `Part` in `sketches.py`; a page is a template and a function of its content.
"""
