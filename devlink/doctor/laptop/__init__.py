"""The laptop and what is around it: devlink's own parts, the profile, the network that it is in."""
