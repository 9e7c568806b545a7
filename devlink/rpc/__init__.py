"""Local sockets: varlink framing, server and client, passed file descriptors, sockets and readiness from a manager."""
