"""What the tests on real parts share: a VS Code server, windows on it, lookalikes, and mail."""

from __future__ import annotations

import os
import pwd

import pytest

from tests.integration.office import office
from tests.integration.vscode.fixtures import vscode_server_installed, vscode_user

__all__ = ["office", "vscode_server_installed", "vscode_user"]

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture(scope="session")
def root() -> None:
    """Skip what only root can do; where tests must be complete that is a failure."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("these tests need root")
    pytest.skip("needs root")
