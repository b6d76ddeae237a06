"""`python -I -m vscadmin`: what the launcher starts."""

from vscadmin.cli.main import main

if __name__ == "__main__":
    main()
