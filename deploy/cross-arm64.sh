#!/bin/sh
# Builds the whole tree for 64-bit ARM on another machine, and runs the unit tests under qemu:
#
#     deploy/cross-arm64.sh             builds, and runs the tests that need no other program
#     deploy/cross-arm64.sh build       builds alone; the server is build/arm64/bin/millrace
#
# The libraries come from Debian's arm64 packages, unpacked into build/arm64-sysroot: the machine's
# own packages stay as they are. Needed besides: g++-aarch64-linux-gnu, qemu-user-static.
set -eu
cd "$(dirname "$0")/.."
. deploy/packages.sh
install_missing $build_packages $cross_packages

sysroot=$PWD/build/arm64-sysroot
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# An apt of its own, which knows arm64 alone and thinks that nothing is installed, so that it
# fetches the libraries with all that they stand on.
foreign_apt() {
  with_progress "$log" apt-get -q -y \
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
    -o Dir::State="$sysroot/var/lib/apt" -o Dir::State::status="$sysroot/var/lib/dpkg/status" \
    -o Dir::Cache="$sysroot/var/cache/apt" -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

wanted=$(echo $target_packages)
if [ "$(cat "$sysroot/complete" 2>/dev/null)" != "$wanted" ]; then
  echo "== libraries for arm64"
  rm -rf "$sysroot"
  mkdir -p "$sysroot/var/lib/apt/lists/partial" "$sysroot/var/lib/dpkg" \
    "$sysroot/var/cache/apt/archives/partial"
  : >"$sysroot/var/lib/dpkg/status"
  foreign_apt update
  foreign_apt install --download-only --no-install-recommends $wanted
  for package in "$sysroot"/var/cache/apt/archives/*.deb; do
    dpkg -x "$package" "$sysroot"
  done
  rm -rf "$sysroot/var/cache/apt" "$sysroot/var/lib/apt"
  echo "$wanted" >"$sysroot/complete"
fi

echo "== building"
cmake --preset arm64 >"$log" 2>&1 || { cat "$log"; exit 1; }
with_progress "$log" cmake --build --preset arm64
[ "${1:-test}" = test ] || exit 0

# Not what starts other programs of this machine or measures it. The one test that is left out by name
# reads the number of threads from /proc/self/stat, of which qemu fills in only a few fields.
echo "== running under qemu"
ctest --preset arm64 -j "$(nproc)" -LE 'e2e|conformance|model|deploy|examples|docs|memory|tidy' \
  -E '^Metrics\.ProcessFiguresAreThisProcess$'
