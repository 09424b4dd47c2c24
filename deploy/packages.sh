# The Debian packages that Millrace needs, and how to get those that are missing. Sourced by
# deploy/run.sh, tests/run.sh and the Dockerfile's stages, which stand in the top folder.
. deploy/progress.sh

# To build the server; npm for the page that it shows in a browser.
build_packages="
  g++ cmake ninja-build npm
  libboost1.81-dev libboost-program-options1.81-dev
  nlohmann-json3-dev prometheus-cpp-dev libssl-dev libspdlog-dev libargon2-dev libnats-dev
"

# To build and run the tests too: GoogleTest, the benchmarks, and other people's MQTT programs.
test_packages="
  $build_packages
  libgtest-dev libgmock-dev libbenchmark-dev
  libconcurrentqueue-dev libxenium-dev
  mosquitto mosquitto-clients nats-server prometheus
  python3 python3-yaml python3-paho-mqtt python3-jsonschema libpaho-mqtt-dev libpaho-mqttpp-dev
  spin openssl curl systemd pkg-config git clang-tidy
  chromium groff-base iproute2
"

# And for what is tried only with MILLRACE_HEAVY_TESTS=1 (tests/heavy.sh): images and Debian's packages.
heavy_packages="
  $test_packages
  buildah podman podman-compose runc netavark aardvark-dns iptables
  debootstrap dpkg-dev ca-certificates
"

# To build for 64-bit ARM and run what was built (deploy/cross-arm64.sh), and what to link with there.
cross_packages="g++-aarch64-linux-gnu qemu-user-static"
target_packages="
  libc6-dev libstdc++-12-dev libboost1.81-dev libboost-program-options1.81-dev
  nlohmann-json3-dev prometheus-cpp-dev libssl-dev libspdlog-dev libargon2-dev libnats-dev
  libgtest-dev libgmock-dev libbenchmark-dev libconcurrentqueue-dev
"

# missing_packages PACKAGE...: prints those that are not installed.
missing_packages() {
  for package in "$@"; do
    # Where Node.js came from elsewhere, npm came with it, and Debian's package would not fit.
    [ "$package" = npm ] && command -v npm >/dev/null && continue
    # Debian has it for amd64 alone; elsewhere its rows are missing from the benchmarks' table.
    [ "$package" = libxenium-dev ] && [ "$(dpkg --print-architecture)" != amd64 ] && continue
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      printf ' %s' "$package"
  done
}

# install_missing PACKAGE...: as root, or through sudo.
install_missing() {
  missing=$(missing_packages "$@")
  [ -z "$missing" ] && return 0
  as_root=""
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "missing packages, and neither root nor sudo to install them:$missing" >&2
      return 1
    fi
    as_root="sudo"
  fi
  echo "installing:$missing"
  apt_log=$(mktemp)
  apt_code=0
  with_progress "$apt_log" $as_root apt-get update -q || apt_code=$?
  # Services that come with packages (mosquitto, prometheus) are not wanted: their programs are.
  [ "$apt_code" -ne 0 ] || with_progress "$apt_log" \
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -q --no-install-recommends $missing || apt_code=$?
  rm -f "$apt_log"
  return "$apt_code"
}
