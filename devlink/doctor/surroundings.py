"""What lies between laptop and cluster and is not devlink's: the network, a captive portal, proxies, the clock."""

from devlink.doctor.check import Check

CHECKS: tuple[Check, ...] = ()
