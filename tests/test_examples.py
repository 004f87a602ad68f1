"""The example scripts, as the documentation tells people to run them, against a live platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from tests.conftest import ROOT, encoded, scene
from tests.platform import Platform

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def token(platform: Platform) -> str:
    form = {"username": "admin", "password": platform.password, "name": "examples", "days": 1}
    answer = httpx.post(f"{platform.url}/api/v1/tokens", json=form, timeout=60)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "meadow"
    folder.mkdir()
    for seed in range(3):
        (folder / f"picture {seed}.jpg").write_bytes(encoded(scene(200 + seed)))
    return folder


def run(platform: Platform, token: str, script: str, *words: str) -> str:
    """What a script prints; it must end well."""
    path = str(EXAMPLES / script)
    command = [path, *words] if script.endswith(".sh") else [sys.executable, path, *words]
    environment = {**os.environ, "PAYSAGE_URL": platform.url, "PAYSAGE_TOKEN": token}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_folder_is_uploaded_searched_and_its_masks_downloaded(
    platform: Platform, token: str, pictures: Path, tmp_path: Path
) -> None:
    said = run(platform, token, "upload_folder.py", str(pictures.parent), "Examples")
    assert said.count(": stored") == 3 and "{'done': 3}" in said, said
    again = run(platform, token, "upload_folder.py", str(pictures.parent), "Examples")
    assert "{'done': 3}" in again

    found = run(platform, token, "search.py", "sky, please", "--limit", "5")
    assert "not understood: please" in found and f"{platform.url}/images/" in found, found
    alike = run(platform, token, "search.py", "--like", str(pictures / "picture 0.jpg"))
    assert alike.splitlines()[0].startswith(("1.0", "0.99")) and "picture 0.jpg" in alike, alike

    masks = tmp_path / "masks"
    said = run(platform, token, "download_masks.py", "Examples", str(masks))
    assert "3 masks fetched, 0 unchanged" in said
    classes = json.loads((masks / "classes.json").read_text())
    for path in masks.glob("*.png"):
        values = np.unique(np.asarray(Pillow.open(path)))
        assert {str(value) for value in values} <= set(classes)
    said = run(platform, token, "download_masks.py", "Examples", str(masks))
    assert "0 masks fetched, 3 unchanged" in said


def test_the_same_with_curl(platform: Platform, token: str, pictures: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    picture = str(pictures / "picture 1.jpg")
    said = run(platform, token, "curl.sh", picture, "With curl", str(mask))
    assert "analysis done" in said and Pillow.open(mask).format == "PNG", said
    assert len(said.splitlines()) >= 4, said


def test_a_refusal_is_told_in_words(platform: Platform) -> None:
    environment = {**os.environ, "PAYSAGE_URL": platform.url, "PAYSAGE_TOKEN": "wrong"}
    command = [sys.executable, str(EXAMPLES / "search.py"), "sky"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("token_invalid: The token is unknown"), done.stderr
