"""Programs that run with real TensorFlow on one side of the wire and Flowmesh on the other."""
