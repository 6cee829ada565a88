"""The parts of the experiments on images and cells."""
