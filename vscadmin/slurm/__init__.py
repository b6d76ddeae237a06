"""The scheduler: one interface, squeue and pyslurm behind it."""
