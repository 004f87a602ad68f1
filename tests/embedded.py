"""A pytest plugin that is loaded before Django's settings: services in a home of the tests' own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_folder = tempfile.TemporaryDirectory(prefix="paysage-tests-", ignore_cleanup_errors=True)
HOME = Path(_folder.name)
HOME.chmod(0o755)  # as root, PostgreSQL runs as another user, who must reach its folder
os.environ["PAYSAGE_HOME"] = str(HOME)
os.environ["PAYSAGE_LEASE_S"] = "5"
os.environ["PAYSAGE_SWEEP_S"] = "2"
for _name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(_name, None)

from retrieval.embedded import start_services  # noqa: E402

start_services()
