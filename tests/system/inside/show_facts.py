"""Prints what devlink sees of how this machine resolves names, as JSON: for tests/resolvers/systems."""

import json
from pathlib import Path
from typing import Any

from devlink.resolvers.modes import all_modes
from devlink.resolvers.observe import observe


def plain(value: Any) -> Any:
    """What D-Bus brings, as JSON has it."""
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


facts = observe(all_modes())
path = Path("/etc/resolv.conf")
print(
    json.dumps(
        {
            "resolv.conf": path.read_text() if path.exists() else None,
            "leads_to": facts.file.leads_to,
            "hosts": facts.hosts,
            "services": {
                service: {name: plain(value) for name, value in shown.items()}
                for service, shown in facts.services.items()
            },
            "programs": {
                name: {
                    "path": each.path,
                    "exit_code": each.exit_code,
                    "output": each.output[:200],
                }
                for name, each in facts.programs.items()
            },
        },
        indent=1,
    )
)
