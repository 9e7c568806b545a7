"""One name, address or URL, followed link by link."""
