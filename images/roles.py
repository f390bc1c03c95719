#!/usr/bin/env python3
"""Reads images/roles.toml for the builders: `roles.py ROLE KEY` prints one value a line."""

import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def table() -> dict[str, dict[str, Any]]:
    return tomllib.loads((HERE / "roles.toml").read_text())


def roles() -> dict[str, dict[str, Any]]:
    return {name: role for name, role in table().items() if name != "slim"}


def pins() -> dict[str, str]:
    """Version by package, as requirements.txt has them."""
    lines = (HERE.parent / "requirements.txt").read_text().splitlines()
    found = (
        line.partition(";")[0].strip().partition("==") for line in lines if "==" in line and line[0] != " "
    )
    return {name.partition("[")[0]: version for name, _, version in found}


def replaced() -> dict[str, str]:
    """What is installed instead of a package, in the version that is pinned for it."""
    return {name: f"{other}=={pins()[name]}" for name, other in table()["slim"]["instead"].items()}


def values(role: str, key: str) -> list[str]:
    match key:
        case "constraints":
            return [f"{name}=={version}" for name, version in pins().items() if name not in replaced()]
        case "overrides":  # a condition that never holds leaves the package out
            return [f"{name}; python_version < '3'" for name in replaced()]
        case "additions":
            return list(replaced().values()) if "model" in roles()[role]["extras"] else []
        case "without" | "strip":
            return list(table()["slim"][key])
        case _:
            found = roles()[role].get(key, [])
            return [str(each) for each in found] if isinstance(found, list) else [str(found)]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*values(sys.argv[1], sys.argv[2]), ""]))
