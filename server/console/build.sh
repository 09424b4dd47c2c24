#!/bin/sh
# Builds the page in a folder of the build and makes a C++ file of it: build.sh SOURCE FOLDER OUTPUT NOTICES
# NOTICES, the licences of what is in the program, becomes a file of the page.
# Where npm does not get its packages, the server is built without the page, and this says so. FOLDER/built
# is there only with a page: to Ninja it is an output, too, so the next build tries again.
set -eu
source=$1 folder=$2 output=$3 notices=$4
mkdir -p "$folder"
cd "$folder"
rm -rf built bundled.txt src dist
cp -R "$source/src" "$source/index.html" "$source/package.json" "$source/package-lock.json" \
  "$source/tsconfig.json" "$source/vite.config.js" .
if ! cmp -s package-lock.json installed; then
  # npm waits for more than a minute before it gives up; after a build without the page it asks once.
  retries=2
  ! cmp -s "$source/no_page.cpp.in" "$output" || retries=0
  if ! npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=$retries >npm.log 2>&1; then
    echo "the page is missing: npm did not get its packages ($folder/npm.log)"
    # What stands there already keeps its time, so that nothing is compiled anew for it.
    cmp -s "$source/no_page.cpp.in" "$output" || cp "$source/no_page.cpp.in" "$output"
    exit 0
  fi
  cp package-lock.json installed
fi
npm run --silent build -- --logLevel warn
cp "$notices" dist/notices.txt
node "$source/embed.mjs" dist "$output"
: >built
