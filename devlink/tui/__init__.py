"""The dashboard: a client of the agent's socket, drawn by Textual."""
