"""Planning: from a request to jobs, and what each of them still needs."""
