"""What measures is tested like everything else: a wrong figure is worse than none."""
