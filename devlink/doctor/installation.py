"""The installation: helper, agent, versions, who may use them, and the other program of this name."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
