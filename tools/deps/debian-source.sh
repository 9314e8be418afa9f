# Sourced by the recipes beside it: Debian's source packages, through package lists of our own, so
# that the machine's apt stays as it is.

# fetch_source PACKAGE: leaves PACKAGE_*.orig.tar.* and *.debian.tar.* in the current directory, the
# newest that the release and its security updates hold, checked by apt against their signatures.
fetch_source() {
  local lists=$PWD/lists parts=$PWD/parts codename
  codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
  mkdir -p "$lists/partial" "$parts"
  cat >"$parts/source.sources" <<SOURCES
Types: deb-src
URIs: ${NACELLE_DEBIAN_MIRROR:-http://deb.debian.org/debian}
Suites: $codename
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: ${NACELLE_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
Suites: $codename-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  local apt=(apt-get -qq -o Acquire::Retries=3 -o "Dir::Etc::sourcelist=/dev/null"
             -o "Dir::Etc::sourceparts=$parts" -o "Dir::State::lists=$lists"
             -o APT::Sandbox::User=root -o "Dir::Cache::srcpkgcache=" -o "Dir::Cache::pkgcache=")
  "${apt[@]}" update
  "${apt[@]}" --download-only source "$1"
}

# unpack_source: what fetch_source left, as the distribution builds it (patches applied), in tree/.
unpack_source() {
  mkdir tree
  tar -xf ./*.orig.tar.?z --strip-components=1 -C tree
  tar -xf ./*.debian.tar.* -C tree
  local patch
  while read -r patch _; do
    if [[ -n $patch && $patch != \#* ]]; then
      patch --quiet --forward -p1 -d tree <"tree/debian/patches/$patch"
    fi
  done < <(cat tree/debian/patches/series 2>/dev/null)
}
