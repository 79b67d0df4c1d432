"""The load of `make bench`: more messages a second of the same flight."""
