"""The language's grammar as a table, and the walk that holds a document against it."""
