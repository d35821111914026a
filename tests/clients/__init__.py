"""Real clients against a real collector: what they hand to their transport is what is stored."""
