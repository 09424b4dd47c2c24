#!/bin/sh
# Where npm does not get the page's packages, the server is built without the page, and one line says so:
# without_npm.sh SOURCE (server/console)
set -eu
source=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin"
printf '#!/bin/sh\nexit 1\n' >"$folder/bin/npm"
chmod +x "$folder/bin/npm"
said=$(PATH="$folder/bin:$PATH" "$source/build.sh" "$source" "$folder/build" "$folder/console.cpp")
cmp "$source/no_page.cpp.in" "$folder/console.cpp"
case $said in
*"
"*) echo "more than a line: $said" && exit 1 ;;
"the page is missing: "*) ;;
*) echo "it says: $said" && exit 1 ;;
esac
