"""Layers: functions of tensors that own their variables (TensorFlow: `tf.layers`)."""
