"""The generator of the conformance vectors: definitions in mpmath, and a catalogue of inputs."""
