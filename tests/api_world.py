"""People for tests of the API that need no commits: each test is rolled back, which is quick."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from retrieval.services import ensure_starter_release


@pytest.fixture(name="people")
def people_fixture(db: None) -> dict[str, object]:
    """As `people` of conftest, in the test's own transaction."""
    ensure_starter_release()
    users = get_user_model().objects
    names = {name: users.create_user(name) for name in ("ada", "ben")}
    return {**names, "root": users.create_superuser("root")}
