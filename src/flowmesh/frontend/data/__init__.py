"""Input pipelines: datasets, the iterators over them, and what they are made of (TensorFlow: `tf.data`)."""
