"""How ``identify`` finds the spec of a loss that it can only call."""
