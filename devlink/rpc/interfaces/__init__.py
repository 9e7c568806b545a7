"""The varlink interface files of devlink's sockets, one for each interface."""
