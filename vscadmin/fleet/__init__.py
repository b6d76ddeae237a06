"""Many login nodes as one: asked over ssh by ClusterShell, their answers judged and merged."""
