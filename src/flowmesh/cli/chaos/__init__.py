"""``flowmesh chaos``: breaks clusters on purpose, and checks that nothing hangs, nothing is lost and every error has a name."""
