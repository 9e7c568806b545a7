"""What the agent does for those who look on: it changes nothing of a session. `verbs` puts it on the agent's server."""
