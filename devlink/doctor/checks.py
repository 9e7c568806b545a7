"""All that is looked at, in the order of the path: laptop, network, cluster, names."""

from devlink.doctor import gateway, installation, kernel, names, profile, services, session, surroundings
from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = (
    *installation.CHECKS,
    *surroundings.CHECKS,
    *profile.CHECKS,
    *kernel.CHECKS,
    *gateway.CHECKS,
    *services.CHECKS,
    *names.CHECKS,
    *session.CHECKS,
)
