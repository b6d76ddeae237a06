"""What people type: one verb a file, which parses, calls, renders and exits."""
