"""The way of a name: the forwarder, its servers, the operating system, libc, containers, browsers."""
