"""JAX's contenders."""
