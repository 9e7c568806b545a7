"""Names: the forwarder, the operating system's resolver, libc, containers, and who goes past all of them."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
