"""Who may connect to a server, what graphs of other processes may do there, and how large things may become."""
