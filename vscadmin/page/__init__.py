"""SHOWING: one self-contained HTML page of one node or many; pure, facts in and a text out."""
