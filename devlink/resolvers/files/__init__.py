"""`devlink files`: the process that may write /etc/resolv.conf, and the client of it."""

INTERFACE = "io.devlink.Files"
