"""TCP to pods through the API server's port-forward, where no route can reach the cluster (the process `relay`)."""
