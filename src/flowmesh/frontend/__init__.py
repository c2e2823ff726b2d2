"""What a program says about state: variables, their scopes, initializers and regularizers, and layers over them."""
