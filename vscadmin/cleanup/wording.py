"""The texts of letters: the site's templates before ours, run in a sandbox.

A template gets texts and numbers, and a sandbox that hands out nothing else; a name that
is not there is an error, never an empty space in a letter.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import TYPE_CHECKING

from vscadmin.errors import ConfigError, VscadminError
from vscadmin.trust import doubts

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

TEMPLATES = (
    "notice-subject.txt.j2",
    "notice.txt.j2",
    "terminal.txt.j2",
    "digest-subject.txt.j2",
    "digest.txt.j2",
    "refused-subject.txt.j2",
    "refused.txt.j2",
)
_OURS = "vscadmin/"  # this before a template's name means ours, even where the site has its own


@dataclass(frozen=True, slots=True)
class Wording:
    """The templates of this run."""

    environment: SandboxedEnvironment
    directory: str | None

    def render(self, name: str, values: Mapping[str, object]) -> str:
        """Return a template filled in; raises ConfigError with its file and line."""
        try:
            return self.environment.get_template(name).render(values)
        except VscadminError:
            raise
        except Exception as error:  # a template is a program: it can fail in any way
            raise ConfigError((_place(name, error),)) from error

    def check_names(self, name: str, known: Collection[str]) -> None:
        """Refuse names that are neither *known* nor set, in branches that are not taken too.

        Raises ConfigError with the line of each, or where it does not compile.
        """
        from jinja2 import meta, nodes  # noqa: PLC0415 - see open_templates

        try:
            source, path = _load(self.directory, name) or ("", name)
            parsed = self.environment.parse(source, name, path)
        except VscadminError:
            raise
        except Exception as error:
            raise ConfigError((_place(name, error),)) from error
        names = [*parsed.find_all(nodes.Name)]
        unknown = meta.find_undeclared_variables(parsed).difference(
            known, [each.name for each in names if each.ctx != "load"]
        )
        lines = {each.name: each.lineno for each in names if each.name in unknown}
        if lines:
            raise ConfigError(
                tuple(f"{path}:{line}: no such variable: {each}" for each, line in lines.items())
            )


def open_templates(directory: str | None) -> Wording:
    """Return the templates, the site's in *directory* before ours; none is read yet.

    Raises ConfigError where the directory is none, or holds a template that nobody uses.
    """
    # Loaded by runs that write only: `vscadmin report` must not wait for it.
    from jinja2 import FunctionLoader, StrictUndefined  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    if directory is not None:
        _check_names(directory)
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(
            lambda name: (*found, None) if (found := _load(directory, name)) else None
        ),
        undefined=StrictUndefined,
        autoescape=False,  # plain text, never HTML
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Wording(environment, directory)


def _check_names(directory: str) -> None:
    """Refuse a misspelt template: ours would be used silently. Names with "_" are the site's."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise ConfigError((f"notify.templates: {directory}: {error.strerror}",)) from error
    problems = []
    for name in names:
        if name.endswith(".j2") and not name.startswith("_") and name not in TEMPLATES:
            close = get_close_matches(name, TEMPLATES, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{os.path.join(directory, name)}: is no template of vscadmin{hint}")
    if problems:
        raise ConfigError(tuple(problems))


def _load(directory: str | None, name: str) -> tuple[str, str] | None:
    """Return a template's text and file, None where there is none.

    As root only a file that is root's alone is read, included ones too.
    """
    if os.path.basename(name.removeprefix(_OURS)) != name.removeprefix(_OURS):
        return None
    if directory is not None and not name.startswith(_OURS):
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            return _read(path), path
    ours = resources.files("vscadmin.cleanup") / "templates" / name.removeprefix(_OURS)
    return (ours.read_text(encoding="utf-8"), str(ours)) if ours.is_file() else None


def _read(path: str) -> str:
    if os.geteuid() == 0 and (found := doubts(path)):
        raise ConfigError(found)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}",)) from error
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: is not UTF-8",)) from error


def _place(name: str, error: Exception) -> str:
    """Say what is wrong in which line; Jinja puts the template's own lines into the traceback."""
    filename, line = getattr(error, "filename", None), getattr(error, "lineno", None)
    if not isinstance(filename, str) or line is None:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [(frame.filename, frame.lineno) for frame in frames if ".j2" in frame.filename]
        filename, line = inside[-1] if inside else (name, None)
    return f"{filename}:{line or 1}: {str(error) or type(error).__name__}"
