"""The forwarder: split DNS as a process of its own, raw bytes on the hot path."""
