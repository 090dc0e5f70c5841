"""The library's own rooms, and the losses of torch and optax as a second judge of the vectors."""
