"""Graph to graph: prune, place, partition, cluster. Each pass is one file with its rules written at the top."""
