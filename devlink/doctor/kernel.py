"""The kernel: whether packets go as planned, and who keeps them from it."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
