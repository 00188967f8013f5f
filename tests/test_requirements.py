"""The three places that name versions agree."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_requirements_txt_pins_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = set(project["project"]["dependencies"])
    pinned = set(re.findall(r"^(\S+==[^\s;]+)", (ROOT / "requirements.txt").read_text(), re.M))
    assert wanted <= pinned


def test_every_direct_dependency_is_exact_and_dated():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in direct)
    assert project["tool"]["uv"]["exclude-newer"]


def test_every_requirement_has_a_hash():
    text = (ROOT / "requirements.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text)
    requirements = [block for block in blocks if re.match(r"[a-z0-9]", block)]
    assert len(requirements) > 20
    assert all("--hash=sha256:" in block for block in requirements)


def test_no_lock_file_or_address_is_committed():
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()
