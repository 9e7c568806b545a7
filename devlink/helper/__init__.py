"""The privileged side: checks trust, keeps the journal, changes the machine's network, and undoes it."""
