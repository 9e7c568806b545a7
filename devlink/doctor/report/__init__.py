"""What a colleague needs, without secrets: what goes in, masked, in one archive."""
