"""What goes aboard, built from this checkout: see deploy/image/build.py."""
