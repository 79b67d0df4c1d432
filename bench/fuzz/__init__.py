"""Fuzzers of everything that decodes bytes from outside."""
