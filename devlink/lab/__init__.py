"""Small private worlds in network namespaces, for the demo and the tests."""
