"""Lend tests a cluster: one lab for the whole run, tidied up after every test that used it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.integration.conftest import root
from tests.integration.vscode.fixtures import vscode_server_installed
from tests.lab import cluster as lab
from tests.lab.cluster import Cluster
from tests.lab.errors import LabError

__all__ = ["root", "vscode_server_installed"]

_CLUSTER = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Bring up a lab of this run's own; where it cannot be had, skip, or fail if CI is "true"."""
    name = f"test-{os.getpid()}"
    try:
        lab.down(name)  # of another run that had this pid
        lab.down_forgotten()
        cluster = lab.up(name)
    except LabError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    request.config.stash[_CLUSTER] = cluster
    try:
        yield cluster
    finally:
        del request.config.stash[_CLUSTER]
        lab.down(name)


@pytest.fixture
def cluster(running_lab: Cluster) -> Iterator[Cluster]:
    """Lend the cluster; what the test's users left running ends with it."""
    try:
        yield running_lab
    finally:
        running_lab.tidy()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add every node's logs to the report of a test that failed with the cluster."""
    report = yield
    cluster = item.config.stash.get(_CLUSTER, None)
    if report.failed and cluster and "running_lab" in getattr(item, "fixturenames", ()):
        report.sections += [(f"log of {name}", text) for name, text in cluster.logs()]
    return report
