"""The tests of Tenuto."""
