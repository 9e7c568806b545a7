"""`python -m devlink.cli`: the command where it has no script of its own."""

from devlink.cli import main

main()
