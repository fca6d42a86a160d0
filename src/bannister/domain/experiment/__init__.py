"""Inference experiments: a shadow beside production for a while, and then the endpoint as it was, or the shadow in production."""
