"""The way of the packets: the kernel, the gateways, and what comes back from the cluster."""
