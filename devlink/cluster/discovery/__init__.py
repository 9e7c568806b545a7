"""From the objects of a cluster's API to its profile, with the source of each fact and with findings. PURE."""
