"""Baselines: from healthy flights to a bundle. In: flights. Out: declarations and bundles."""
