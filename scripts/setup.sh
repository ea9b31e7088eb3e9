#!/bin/sh
# Installs the packages of packages.txt of the given groups that are missing (none: says nothing).
set -eu
cd "$(dirname "$0")/.."
missing=
for group in "$@"; do
  for package in $(sed -n "s/^$group //p" packages.txt); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok' || missing="$missing $package"
  done
done
[ -n "$missing" ] || exit 0
echo "Installing:$missing"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y --no-install-recommends $missing
