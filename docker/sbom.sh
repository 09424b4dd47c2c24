#!/bin/sh
# The image's software bill of materials, as SPDX 2.3 in JSON: the server, the libraries that are compiled
# into it, the packages of npm in its page, and each Debian package. The Dockerfile runs it inside the image:
# sbom.sh PROGRAM BUILT-IN, where BUILT-IN is what docker/built-in.sh printed.
set -eu
program=$1 built_in=$2
version=$("$program" --version | sed 's/^millrace //')
checksum=$(sha256sum "$program" | cut -d ' ' -f 1)

# entry SPDXID NAME VERSION [PURL]
entry() {
  printf '  {"SPDXID": "%s", "name": "%s", "versionInfo": "%s", "downloadLocation": "NOASSERTION", ' "$1" "$2" "$3"
  printf '"filesAnalyzed": false'
  [ -z "${4-}" ] || printf ', "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", %s"%s"}]' \
    '"referenceType": "purl", "referenceLocator": ' "$4"
  printf '}'
}
relation() { printf ',\n  {"spdxElementId": "%s", "relationshipType": "%s", "relatedSpdxElement": "%s"}' "$@"; }

relations=$(mktemp)
debian() {  # debian CONTAINS|STATIC_LINK, from lines "package version architecture"
  while read -r name number architecture; do
    id="SPDXRef-$(printf '%s' "$name" | tr -c 'A-Za-z0-9.\n' -)"
    printf ',\n'
    entry "$id" "$name" "$number" "pkg:deb/debian/$(printf '%s@%s' "$name" "$number" |
      sed 's/+/%2B/g; s/:/%3A/g; s/~/%7E/g')?arch=$architecture&distro=debian-12"
    if [ "$1" = STATIC_LINK ]; then
      relation "$id" STATIC_LINK SPDXRef-millrace >>"$relations"
    else
      relation SPDXRef-image CONTAINS "$id" >>"$relations"
    fi
  done
}

npm() {  # from lines "package version"
  while read -r name number; do
    id="SPDXRef-npm-$(printf '%s' "$name" | tr -c 'A-Za-z0-9.\n' -)"
    printf ',\n'
    entry "$id" "$name" "$number" "pkg:npm/$(printf '%s' "$name" | sed 's/@/%40/')@$number"
    relation SPDXRef-millrace CONTAINS "$id" >>"$relations"
  done
}

cat <<END
{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "millrace-$version",
 "documentNamespace": "https://spdx.org/spdxdocs/millrace-$version-$checksum",
 "creationInfo": {"created": "$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)",
  "creators": ["Tool: docker/sbom.sh"]},
 "packages": [
END
entry SPDXRef-image millrace-image "$version"
printf ',\n'
entry SPDXRef-millrace millrace "$version" "pkg:generic/millrace@$version"
sed -n 's/^deb //p' "$built_in" | debian STATIC_LINK
sed -n 's/^npm //p' "$built_in" | npm
dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' | debian CONTAINS
printf '\n ],\n "relationships": [\n'
printf '  {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}'
relation SPDXRef-image CONTAINS SPDXRef-millrace
cat "$relations"
printf '\n ]}\n'
rm -f "$relations"
