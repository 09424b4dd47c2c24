#!/bin/sh
# Where npm does not get the page's packages, the server is built without the page, and one line says so;
# the next build tries again. With MILLRACE_CONSOLE=OFF nobody asks npm: without_npm.sh ROOT
set -eu
root=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Notes each call. It gets packages, and makes a page, once $folder/reachable is there.
mkdir "$folder/bin"
cat >"$folder/bin/npm" <<END
#!/bin/sh
echo "\$1" >>"$folder/calls"
[ -f "$folder/reachable" ] || exit 1
[ "\$1" = ci ] || { mkdir dist && echo the page >dist/index.html; }
END
chmod +x "$folder/bin/npm"
PATH="$folder/bin:$PATH"

fail() {
  echo "$1"
  cat "$folder/log"
  exit 1
}

configure() {
  cmake -S "$root" -B "$folder/build" -G Ninja -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF "$@" \
    >"$folder/log" 2>&1 || fail "it cannot be configured with $*"
}

# Makes the C++ file of the page alone; npm has been called so often then, since the start.
build() {
  cmake --build "$folder/build" --target server/console.cpp >"$folder/log" 2>&1 || fail "it cannot be built"
  touch "$folder/calls"
  [ "$(grep -c . "$folder/calls")" -eq "$1" ] || fail "npm was called like this: $(cat "$folder/calls")"
}

has_page() {
  ! cmp -s "$root/server/console/no_page.cpp.in" "$folder/build/server/console.cpp"
}

said_once() {
  [ "$(grep -c "$1" "$folder/log")" -eq 1 ] || fail "not said once: $1"
}

configure -DMILLRACE_CONSOLE=OFF
said_once "The page at / is not built: MILLRACE_CONSOLE is off"
! has_page || fail "there is a page with MILLRACE_CONSOLE=OFF"

configure -DMILLRACE_CONSOLE=ON
! grep "is not built" "$folder/log" || fail "it says that without cause"
for calls in 1 2; do
  build $calls
  said_once "the page is missing: npm did not get its packages"
  ! has_page || fail "there is a page without packages"
done

# A page is made of what npm got, and then there is nothing left to do.
command -v node >/dev/null || exit 0
touch "$folder/reachable"
build 4
has_page || fail "the page is not there though npm got its packages"
build 4

# Left out, and wanted again.
configure -DMILLRACE_CONSOLE=OFF
! has_page || fail "the page is still there with MILLRACE_CONSOLE=OFF"
configure -DMILLRACE_CONSOLE=ON
build 5
has_page || fail "the page does not come back"
