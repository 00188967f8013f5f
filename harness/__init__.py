"""What turns a (data set, model, device) into a record."""
