"""The programs of the operating system that manage names, as the modes speak to them."""
