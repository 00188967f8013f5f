"""Tables and figures made from the records; nothing here imports torch."""
