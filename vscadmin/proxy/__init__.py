"""CARRYING: one run of vscode-shell-proxy; the editor's server in a job, its port relayed."""
