"""What devlink knows and decides, as plain data and functions: no clock, no socket, no file."""
