"""The sweep that psutil's users write: the fields of `ps -eo pid,ppid,uid,lstart,args`."""

import psutil

for process in psutil.process_iter(["pid", "ppid", "uids", "create_time", "cmdline"]):
    seen = process.info
    print(seen["pid"], seen["ppid"], seen["uids"], seen["create_time"], seen["cmdline"])
