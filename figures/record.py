"""What a study's results were made from, kept beside them: whether they still stand is a comparison of hashes.

The code of a study is every module of the project that its process had imported when it ended, each by the hash that
its file had before the study began.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from figures import NEEDS
from figures.claims import Claim

ROOT = Path(__file__).parents[1]
ROOMS = ("simlab", "theory", "figures")
DRAWN = ("csv", "png", "pdf")  # beside name.json, which is written last


def sources() -> dict[str, str]:
    """The hash of every file of the project's code, by its path from the root."""
    files = (path for room in ROOMS for kind in ("py", "pyi") for path in sorted((ROOT / room).rglob(f"*.{kind}")))
    return {path.relative_to(ROOT).as_posix(): _hash(path) for path in files}


def made_from(
    name: str, results: Path, settings: Mapping[str, Any], before: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What the files of one study, which have just been written, depend on.

    Parameters
    ----------
    name : str
        The study.
    results : Path
        The folder of its files.
    settings : mapping
        What was passed to its `measure`; empty for the published figures.
    before : mapping
        `sources()` as they were before it began.

    Returns
    -------
    dict
        settings, versions, sources and files; `changed` compares them.
    """
    imported = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {
        "settings": dict(settings),
        "versions": versions(name),
        # A stub beside a package (.pyi) says what the package imports.
        "sources": {
            path: digest for path, digest in before.items() if str((ROOT / path).with_suffix(".py")) in imported
        },
        "files": _files(name, results),
    }


def changed(name: str, results: Path) -> str:
    """Why a study has to run again; "" if its results stand.

    They do if its files are there as they were written, by the same code under the same versions with the settings of
    the published figures. A record that is missing or damaged is a reason to run.
    """
    path = results / f"{name}.json"
    try:
        made = read(name, results)["made_from"]
        claims(name, results)
        now = {
            "settings": {},
            "versions": versions(name),
            "sources": {path: _hash(ROOT / path) for path in made["sources"]},
            "files": _files(name, results),
        }
        differ = [
            key for part in now for key in {**now[part], **made[part]} if made[part].get(key) != now[part].get(key)
        ]
    except FileNotFoundError as missing:
        return f"{missing.filename} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path} is no record of it"
    return f"{', '.join(differ[:3])}{' ...' if len(differ) > 3 else ''} changed" if differ else ""


def read(name: str, results: Path) -> dict[str, Any]:
    """The content of results/name.json."""
    return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))


def claims(name: str, results: Path) -> list[Claim]:
    """What the study in results/name.json has shown."""
    return [Claim(**claim) for claim in read(name, results)["claims"]]


def installed(name: str) -> bool:
    """Whether what the study needs beyond the project's own libraries is there."""
    return name not in NEEDS or find_spec(NEEDS[name]) is not None


def versions(name: str = "") -> dict[str, str]:
    """Versions of Python and of the libraries that the project needs, and the study of this name."""
    needs = [re.match(r"[\w.-]+", need) for need in metadata.requires("simlab") or [] if "extra ==" not in need]
    names = [need[0] for need in needs if need] + ([NEEDS[name]] if name in NEEDS and installed(name) else [])
    return {"python": platform.python_version(), **{library: metadata.version(library) for library in names}}


def _files(name: str, results: Path) -> dict[str, str]:
    return {f"{name}.{kind}": _hash(results / f"{name}.{kind}") for kind in DRAWN}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
