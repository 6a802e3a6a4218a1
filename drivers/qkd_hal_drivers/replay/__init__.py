"""A recording that answers as the recorded device did: ``replay:///path/to/file``."""
