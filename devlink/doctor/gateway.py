"""Who carries the packets: on the link, answering there, forwarding."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
