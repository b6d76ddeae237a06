"""What the user sees on the laptop: the windows on its X server."""

from __future__ import annotations

from tests.lab.cluster import Cluster


def windows(cluster: Cluster, user: str) -> str:
    """Return the tree of all windows there, as xwininfo prints it for *user*."""
    listing = ("xwininfo", "-display", ":0", "-root", "-tree")
    return cluster.laptop.run(*listing, user=user, check=False).stdout  # one may just have gone
