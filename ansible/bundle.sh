#!/usr/bin/env bash
# bundle.sh DIRECTORY PYTHON: puts the wheels of vscadmin and of all it needs into DIRECTORY, with
# SHA256SUMS, for nodes without a package index: EL 8 and 9, Debian 12, x86_64 and aarch64.
# PYTHON is an interpreter with pip. DIRECTORY is replaced, once the new one is whole.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSIONS=(3.11 3.12 3.13) MACHINES=(x86_64 aarch64)
readonly PINS=.ci/constraints.txt
# The oldest glibc is EL 8's, 2.28: what was built for it or an older one runs on all of them.
readonly GLIBC=(manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014)

target=$(realpath -m "${1:?a directory is missing}") python=${2:?an interpreter is missing}
next=$target.next
pip=("$python" -m pip --quiet --disable-pip-version-check)

download() { # VERSION MACHINE
  local platforms=() glibc
  for glibc in "${GLIBC[@]}"; do platforms+=(--platform "${glibc}_$2"); done
  "${pip[@]}" download --dest "$next" --constraint "$PINS" --only-binary :all: \
    --implementation cp --python-version "$1" "${platforms[@]}" "$wheel"
}

if [[ -e $target && ! -e $target/SHA256SUMS ]]; then
  echo "bundle: $target is there and no bundle: it is left as it is" >&2
  exit 1
fi
rm -rf "$next"
mkdir -p "$next"
"${pip[@]}" wheel --no-deps --wheel-dir "$next" .
wheel=$(echo "$next"/vscadmin-*.whl)
for version in "${VERSIONS[@]}"; do
  for machine in "${MACHINES[@]}"; do download "$version" "$machine"; done
done
(cd "$next" && sha256sum -- *.whl >SHA256SUMS && sha256sum --check --quiet --strict SHA256SUMS)
rm -rf "$target"
mv "$next" "$target"
echo "$target: $(wc -l <"$target/SHA256SUMS") wheels, vscadmin $(basename "$wheel" | cut -d- -f2)"
