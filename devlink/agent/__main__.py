"""`python -m devlink.agent`: the agent's process."""

from devlink.agent.server import main

raise SystemExit(main())
