"""How values of each type are written as plain JSON and read back as what they were."""
