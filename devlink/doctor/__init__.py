"""What to look at, in which order, and what it says: the laptop, the way to the cluster, and what comes back."""
