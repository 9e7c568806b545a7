"""How the operating system is told about the forwarder: one file for each mode, one interface."""
