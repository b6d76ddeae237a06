"""Run a command under a filter that keeps NETLINK_SOCK_DIAG from it, as a container's may.

Run as `python no_sock_diag.py COMMAND...`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys

_SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of socket(2)
_SOCK_DIAG = 4
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # linux/seccomp.h
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h


def main() -> None:
    """Install the filter and become the command."""
    # struct sock_filter: code, where to go if true and if false, value. At 0 of what is filtered
    # is the call's number, its arguments are at 16, 24, 32.
    program = b"".join(
        struct.pack("=HBBI", *line)
        for line in (
            (_LOAD, 0, 0, 0),
            (_EQUAL, 0, 5, _SOCKET[os.uname().machine]),
            (_LOAD, 0, 0, 16),
            (_EQUAL, 0, 3, socket.AF_NETLINK),
            (_LOAD, 0, 0, 32),
            (_EQUAL, 0, 1, _SOCK_DIAG),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    held = ctypes.create_string_buffer(program)
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if prctl(_SET_SECCOMP, _FILTER, ctypes.create_string_buffer(whole), 0, 0):
        sys.exit(f"no filter here: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606


if __name__ == "__main__":
    main()
