"""Models as functions, trained, evaluated and asked by an Estimator (TensorFlow: `tf.estimator`)."""
