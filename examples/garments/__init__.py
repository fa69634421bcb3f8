"""A corpus drawn from photographs of garments, and the small PaliGemma that is trained on it."""
