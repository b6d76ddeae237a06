"""Why a job waits, in words: what Slurm calls the reason (job_reason_codes.html, 22.05 to 25.05).

The name itself is added, so that users can look it up and admins know what is meant.
"""

from __future__ import annotations

IN_LINE = frozenset({"", "None", "Priority", "Resources"})  # what waits for nothing but its turn

_ASK_LESS = "; it will never start: end this session and ask for less"
_ASK_ADMINS = "; it will not start: please ask your administrators"
_WORDS = {
    "": "waiting for the scheduler to look at it",
    "None": "waiting for the scheduler to look at it",
    "Priority": "waiting for its turn",
    "Resources": "next in turn, waiting for free resources",
    "Dependency": "waiting for another job that it depends on",
    "DependencyNeverSatisfied": "the job that it depends on failed; it will never start",
    "BeginTime": "waiting for the start time that was asked for",
    "JobHeldUser": "held by you: scontrol release starts it",
    "JobHeldAdmin": "held by an administrator" + _ASK_ADMINS,
    "JobHoldMaxRequeue": "held: it was requeued too often" + _ASK_ADMINS,
    "launch_failed_requeued_held": "held: its start failed" + _ASK_ADMINS,
    "PartitionTimeLimit": "it asks for more time than the partition allows" + _ASK_LESS,
    "PartitionNodeLimit": "it asks for more or fewer nodes than the partition allows" + _ASK_LESS,
    "PartitionConfig": "it asks for what the partition does not have" + _ASK_LESS,
    "PartitionDown": "the partition starts no jobs at present",
    "PartitionInactive": "the partition takes no jobs at present",
    "BadConstraints": "no node can give what it asks for" + _ASK_LESS,
    "ReqNodeNotAvail": "a node that it needs is not available: down, drained or reserved",
    "Reservation": "waiting for its reservation to begin",
    "ReservationDeleted": "its reservation is gone; it will never start",
    "ReservationInvalid": "its reservation is not valid; it will never start",
    "NodeDown": "a node that it needs is down",
    "FrontEndDown": "the front end node is down",
    "Reboot": "a node that it needs is being rebooted",
    "SchedDefer": "waiting for the next round of the scheduler",
    "Licenses": "waiting for licences",
    "LicensesReservation": "waiting for licences that are reserved",
    "JobArrayTaskLimit": "as many jobs of its array run as may",
    "Cleaning": "what its last run left is being removed",
    "Prolog": "the nodes are being prepared",
    "DeadLine": "it cannot end before its deadline" + _ASK_LESS,
    "InvalidAccount": "its account is not valid" + _ASK_ADMINS,
    "InvalidQOS": "its QOS is not valid" + _ASK_ADMINS,
    "AccountNotAllowed": "its account may not use the partition" + _ASK_ADMINS,
    "QOSNotAllowed": "its QOS may not be used in the partition" + _ASK_ADMINS,
    "QOSUsageThreshold": "its QOS has used up its share",
    "AccountingPolicy": "a limit of your account or QOS is reached",
    "AssociationJobLimit": "your account runs as many jobs as it may",
    "AssociationResourceLimit": "your account uses all it may",
    "AssociationTimeLimit": "your account has used up its time",
    "QOSJobLimit": "your QOS runs as many jobs as it may",
    "QOSResourceLimit": "your QOS uses all it may",
    "QOSTimeLimit": "your QOS has used up its time",
    "MaxMemPerLimit": "it asks for more memory for each CPU or node than is allowed" + _ASK_LESS,
    "BurstBufferResources": "waiting for space in the burst buffer",
    "BurstBufferStageIn": "its files are being copied in",
    "BurstBufferOperation": "the burst buffer failed" + _ASK_ADMINS,
    "PowerNotAvail": "waiting for electric power",
    "PowerReserved": "waiting for electric power that is reserved",
    "FedJobLock": "waiting for the other clusters of the federation",
    "OutOfMemory": "Slurm itself lacks memory" + _ASK_ADMINS,
    "SystemFailure": "Slurm failed to start it" + _ASK_ADMINS,
    "JobLaunchFailure": "its start failed" + _ASK_ADMINS,
}  # fmt: skip
_NODES = "Nodes required for job are DOWN, DRAINED or reserved"

# Names made by rule: (Assoc|QOS)(Grp|Max|Min)WHAT[Minutes|RunMinutes][PerWHOM][Limit], MaxWHATPer…
_WHOSE = {"Assoc": "your account", "QOS": "your QOS", "Max": "your account"}
_WHAT = {
    "SubmitJob": "submitted jobs", "Job": "jobs", "Cpu": "CPUs", "CPU": "CPUs",
    "Mem": "memory", "Node": "nodes", "GRES": "GPUs or other GRES", "License": "licences",
    "Energy": "energy", "BB": "burst buffer", "Billing": "billing units",
    "Wall": "time", "Unknown": "resources",
}  # fmt: skip
_LIMITS = {  # the first that is in the name
    "QOSMin": "it asks for less ({what}) than {whose} demands; it will never start",
    "PerJob": "it asks for more ({what}) than {whose} allows one job" + _ASK_LESS,
    "PerNode": "it asks for more ({what}) on a node than {whose} allows" + _ASK_LESS,
    "RunMinutes": "running jobs have reserved all the time ({what}) that {whose} may use",
    "Minutes": "{whose} has used up its budget of time ({what})",
    "PerUser": "you use as much ({what}) as {whose} allows one user",
    "": "{whose} uses as much ({what}) as it may",
}


def explain(reason: str) -> str:
    """Say why a job waits; *reason* is what squeue prints as %r."""
    name = reason.partition(",")[0].strip()  # "ReqNodeNotAvail, UnavailableNodes:c[1-2]"
    if reason.startswith(_NODES):
        return _WORDS["ReqNodeNotAvail"]
    words = _WORDS.get(name) or _of_a_limit(name)
    if words is None:
        return f"Slurm says {_plain(reason)}"
    return words if name in ("", "None") else f"{words} ({_plain(reason)})"


def _of_a_limit(name: str) -> str | None:
    """Explain a name that is put together by rule; None if it is not."""
    family = next((each for each in _WHOSE if name.startswith(each)), "")
    rest = name.removeprefix(family)
    what = next((words for key, words in _WHAT.items() if key in rest.partition("Per")[0]), None)
    if not family or what is None:
        return None
    words = next(words for key, words in _LIMITS.items() if key in name)
    return words.format(what=what, whose=_WHOSE[family])


def _plain(text: str) -> str:
    """Return what Slurm wrote, without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text[:200])
