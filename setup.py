"""Everything is declared in pyproject.toml, but for one thing: an installed package brings the
pages of the lessons along, which lie in docs/learn."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PAGES = Path(__file__).parent / "docs" / "learn"


class BuildWithPages(build_py):
    """Copies the pages and their pictures to tinygrad_ft/lessons/pages."""

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install reads them where they lie
            to = Path(self.build_lib, "tinygrad_ft", "lessons", "pages")
            shutil.copytree(
                PAGES, to, ignore=shutil.ignore_patterns("*.py", "__pycache__"), dirs_exist_ok=True
            )


setup(cmdclass={"build_py": BuildWithPages})
