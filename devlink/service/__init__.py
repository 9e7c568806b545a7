"""devlink as a service: the units of the system and of its user, laid down and taken away.

`layout/` is what a package puts on a system, each file where it lies there; its programs lie in /usr/share/devlink.
"""
