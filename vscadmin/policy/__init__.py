"""JUDGING: settings say what a site decided, states and rules observe, decide judges. All pure."""
