"""The parts of the synthetic experiments."""
