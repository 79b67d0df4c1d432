"""Small models of several exporters that admission must accept."""
