"""vscadmin: finds remote-editor servers on login nodes, judges them, tells owners, ends them.

SEEING procs · JUDGING policy · ACTING cleanup · CARRYING proxy · the scheduler slurm ·
many nodes fleet · the one public API sites · what people type cli. Arrows go one way:
cli calls them all, and judging never touches the machine.
"""
