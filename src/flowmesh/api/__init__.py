"""The public namespaces: explicit lists of names, and nothing else."""
