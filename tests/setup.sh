#!/usr/bin/env bash
# What the real half of the tests needs: packages and a VS Code server, when root may install them.
# Without root or network the tests that need them skip and say so; with CI=true that is a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

packages() {
  command -v unshare >/dev/null && command -v ps >/dev/null && command -v ip >/dev/null && return
  [[ $EUID -eq 0 ]] || { echo "unshare, ps or ip is missing, and only root can install them" >&2; return 1; }
  if command -v apt-get >/dev/null; then
    apt-get -o DPkg::Lock::Timeout=300 -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends \
      procps util-linux iproute2 >/dev/null
  else
    dnf -q -y install procps-ng util-linux iproute
  fi
}

if packages && "$here/integration/vscode/install.sh"; then
  exit 0
fi
[[ ${CI:-} != true ]] || exit 1
echo "tests that need a VS Code server will be skipped" >&2
