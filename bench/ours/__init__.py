"""What `bench.systems.tenuto` does for each work, in Python and as documents."""
