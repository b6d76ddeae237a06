"""For all tests: a busy machine makes none of them fail by the time that an example takes."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy")
