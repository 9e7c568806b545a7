"""All that is looked at, in the order of the path: laptop, network, cluster, names."""

from devlink.doctor import session
from devlink.doctor.check import Check
from devlink.doctor.laptop import installation, profile, service, surroundings
from devlink.doctor.names import checks as names
from devlink.doctor.path import gateway, kernel, relay, relay_api, services

CHECKS: tuple[Check, ...] = (
    *installation.CHECKS,
    *service.CHECKS,
    *surroundings.CHECKS,
    *profile.CHECKS,
    *kernel.CHECKS,
    *gateway.CHECKS,
    *relay.CHECKS,
    *relay_api.CHECKS,
    *services.CHECKS,
    *names.CHECKS,
    *session.CHECKS,
)
