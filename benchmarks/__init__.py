"""`make bench`: what a scan costs beside ps, pgrep and psutil; only ratios of one run count."""
