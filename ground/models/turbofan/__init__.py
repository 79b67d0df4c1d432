"""The turbofan on the ground: 0-D, off-design, all points of a flight at once as arrays."""
