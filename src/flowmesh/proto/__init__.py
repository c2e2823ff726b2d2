"""Messages that TensorFlow 1.15 speaks, under a package name of our own."""
