"""The profile: where it comes from, whether it holds, and whether this machine trusts it."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
