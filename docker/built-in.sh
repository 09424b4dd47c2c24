#!/bin/sh
# What of others is inside the program: built-in.sh BUILD, the folder of the build. Prints a line
# "deb package version architecture" for each Debian package whose headers have code that is compiled in, and
# "npm package version" for each package of npm in the page. docker/sbom.sh reads them; deploy/debian/copyright
# has their notices.
set -eu
console=$1/server/console
dpkg-query -W -f 'deb ${Package} ${Version} ${Architecture}\n' \
  libboost1.81-dev nlohmann-json3-dev libspdlog-dev libfmt-dev prometheus-cpp-dev libssl-dev \
  "libstdc++-$(g++ -dumpversion)-dev"
# Without the page, nothing of npm is in the program.
[ ! -e "$console/built" ] || sed 's/^/npm /' "$console/bundled.txt"
