"""Bytes to records and back: TensorFlow's file and message formats, without graph or device."""
