"""devlink: a Kubernetes cluster's pods, services and names, in every program on a laptop."""

__version__ = "0.1.0"
