"""Print the development requirements of pyproject.toml, one a line, for any pip."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
for requirement in project["dependency-groups"]["dev"]:
    print(requirement.replace(" ", ""))
