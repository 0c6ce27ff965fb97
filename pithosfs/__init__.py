"""pithosfs: mount a container of a Pithos+ object store as a directory."""

__version__ = "0.1.0"
