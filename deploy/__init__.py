"""Units, image: how the edge comes aboard."""
