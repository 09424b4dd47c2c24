#!/bin/sh
# Builds the page in a folder of the build and makes a C++ file of it: build.sh SOURCE FOLDER OUTPUT
# Where npm does not get its packages, the server is built without the page, and this says so.
set -eu
source=$1 folder=$2 output=$3
mkdir -p "$folder"
cd "$folder"
rm -rf src dist
cp -R "$source/src" "$source/index.html" "$source/package.json" "$source/package-lock.json" \
  "$source/tsconfig.json" "$source/vite.config.js" .
if ! cmp -s package-lock.json installed; then
  if ! npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1; then
    echo "the page is missing: npm did not get its packages ($folder/npm.log)"
    cp "$source/no_page.cpp.in" "$output"
    exit 0
  fi
  cp package-lock.json installed
fi
npm run --silent build -- --logLevel warn
node "$source/embed.mjs" dist "$output"
