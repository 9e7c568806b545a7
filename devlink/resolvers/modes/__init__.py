"""The modes: each file of this folder is one, and its `MODE` the class. To add a mode is to add a file."""

import importlib
import pkgutil
from functools import cache

from devlink.resolvers.mode import ResolverMode


@cache
def all_modes() -> tuple[type[ResolverMode], ...]:
    """By the names of their files."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").MODE for name in names)


def splits(name: str) -> bool:
    """Whether in the mode of that name the OS itself sends only the clusters' names to the forwarder."""
    return any(mode.can_split for mode in all_modes() if mode.name == name)
