#!/usr/bin/env bash
# What the real half of the tests needs: packages, a VS Code server and the lab, when root may
# install them. Without root or network the tests that need them skip and say so; with CI=true
# that is a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

readonly DEBIAN=(
  procps util-linux iproute2
  # the lab
  munge slurmctld slurmd slurm-client openssh-server openssh-client dnsmasq-base cron tini xvfb
  xauth x11-utils bind9-dnsutils socat curl
)
readonly RED_HAT=(procps-ng util-linux iproute)

missing_from_debian() {
  { dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${DEBIAN[@]}" 2>/dev/null || true; } |
    sed -n 's/^installed //p' | sort | comm -13 - <(printf '%s\n' "${DEBIAN[@]}" | sort)
}

# Debian starts a daemon as soon as its package is there, unless a policy says no: the lab
# starts its own, and none outside its namespaces.
install_debian() {
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get -o DPkg::Lock::Timeout=300 -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install -y \
    --no-install-recommends "$@" >/dev/null
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

if packages && "$here/integration/vscode/install.sh"; then
  exit 0
fi
[[ ${CI:-} != true ]] || exit 1
echo "tests that need a VS Code server or the lab will be skipped" >&2
