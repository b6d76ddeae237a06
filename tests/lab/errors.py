"""What can go wrong with a lab."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot be what was asked for; its first line says why."""


class StillAliveError(LabError):
    """Processes or directories of the lab would not go."""


class InstallError(LabError):
    """The project could not be installed for the lab."""


class GoneError(LabError):
    """The node is not there any more."""


class CommandFailedError(LabError):
    """A command in a node failed; the message holds all it said."""


class EditorError(LabError):
    """A window did not open."""


class SessionError(LabError):
    """A session did not do what it should; its last output is in the text."""
