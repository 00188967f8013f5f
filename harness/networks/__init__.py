"""Networks: building, freezing and looking into them, and their weight files."""
