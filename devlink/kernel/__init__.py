"""The kernel's network: observed and changed by rtnetlink. With the lab, the only place that speaks netlink."""
