"""`python -m devlink.dns`: the forwarder."""

import sys

from devlink.dns.server import main

sys.exit(main())
