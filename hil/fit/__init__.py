"""Healthy flights as rows for the ground to fit, and the anomaly score trained on them."""
