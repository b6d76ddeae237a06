"""SEEING: /proc in, trees out. scan and sockets read; stat, nets, catalogue, trees are pure."""
