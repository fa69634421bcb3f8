"""Filters' backends in the cloud: opt-in, paced, retried, and closed when they can't answer."""
