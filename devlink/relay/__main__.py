"""`python -m devlink.relay`: one session's relay."""

from devlink.relay.server import main

raise SystemExit(main())
