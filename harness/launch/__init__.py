"""Launch of jobs, each in a child process on this machine."""
