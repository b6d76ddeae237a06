#!/usr/bin/env bash
# What the real half of the tests needs: packages, a VS Code server and the lab, when root may
# install them. Without root or network the tests that need them skip and say so; with CI=true
# that is a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

readonly DEBIAN=(
  procps util-linux iproute2 msmtp
  # the lab
  munge slurmctld slurmd slurm-client openssh-server openssh-client dnsmasq-base cron tini xvfb
  xauth x11-utils x11-apps bind9-dnsutils curl python3-aiosmtpd tmux faketime tcsh fish socat
  # what the relay is measured against
  haproxy
  # what nodes of a roll-out have of their own
  python3-venv
  # what runs a node with the timer; not systemd-sysv, which would make it the machine's init
  systemd
  # what a page of a report is opened in
  chromium
)
readonly POLICY=/usr/sbin/policy-rc.d MARK="made by vscadmin's tests/setup.sh"
readonly RED_HAT=(procps-ng util-linux iproute)

missing_from_debian() {
  { dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${DEBIAN[@]}" 2>/dev/null || true; } |
    sed -n 's/^installed //p' | sort | comm -13 - <(printf '%s\n' "${DEBIAN[@]}" | sort)
}

# Debian starts a daemon as soon as its package is there, and at every boot: the lab starts its
# own, and none outside its namespaces.
install_debian() {
  exec 9>/run/lock/vscadmin-setup
  flock 9
  refuse_starts
  apt-get -o DPkg::Lock::Timeout=300 -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install -y \
    --no-install-recommends "$@" >/dev/null
  disable_services "$@"
}

refuse_starts() { # a policy that a killed setup has left is ours as well
  if [[ ! -e $POLICY ]] || grep -q "$MARK" $POLICY; then
    trap 'rm -f $POLICY' EXIT
    printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >$POLICY
    chmod 755 $POLICY
  fi
}

disable_services() { # those of packages that were not here before
  local file
  dpkg --listfiles "$@" | sort -u | while read -r file; do
    case $file in
      */systemd/system/*@.*) ;;
      */systemd/system/*.service | */systemd/system/*.socket)
        ! command -v systemctl >/dev/null || systemctl --quiet disable "${file##*/}" 2>/dev/null ;;
      /etc/init.d/*) update-rc.d "${file##*/}" disable >/dev/null ;;
    esac
  done
}

packages() {
  local lacking
  if command -v apt-get >/dev/null; then
    lacking=$(missing_from_debian)
    [[ -n $lacking ]] || return 0
    [[ $EUID -eq 0 ]] || { echo "only root can install packages: ${lacking//$'\n'/ }" >&2; return 1; }
    # shellcheck disable=SC2086  # a list of words
    install_debian $lacking
  elif ! { command -v unshare && command -v ps && command -v ip; } >/dev/null; then
    [[ $EUID -eq 0 ]] || { echo "only root can install packages: ${RED_HAT[*]}" >&2; return 1; }
    dnf -q -y install "${RED_HAT[@]}"
  fi
}

[[ ${BASH_SOURCE[0]} == "$0" ]] || return 0 # only its functions are wanted
if packages && "$here/integration/vscode/install.sh"; then
  exit 0
fi
[[ ${CI:-} != true ]] || exit 1
echo "tests that need a VS Code server or the lab will be skipped" >&2
