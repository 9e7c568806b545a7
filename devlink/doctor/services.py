"""What comes back from the cluster: whose it is, its services, its pods, and how large a packet may be."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
