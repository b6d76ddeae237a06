"""ACTING: notices and terminations, each justified from the store; thin, and checks again."""
