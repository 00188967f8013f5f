"""Where cells run: here, in a child process of their own."""
