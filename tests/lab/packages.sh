# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Debian packages that tests use without installing them: the machine's own stay as they are. What is
# downloaded and made of them is kept in LAB_IMAGES, outside the repository.

readonly IMAGES=${LAB_IMAGES:-/var/cache/migpolicy-lab}

# unpack FOLDER NAMES PACKAGE...: those packages, and of all that they need the ones whose names the
# pattern NAMES matches. To apt nothing is installed.
unpack() {
    local folder=$1 names=$2 name version
    local -a apt=(apt-get -qq -y -o Dir::State::status=/dev/null -o APT::Install-Recommends=0
        -o "Dir::Cache::archives=$IMAGES/archives" -o APT::Sandbox::User=root)
    shift 2
    mkdir -p "$IMAGES/archives/partial" "$folder"
    # The lists of packages may name what the archive has replaced.
    "${apt[@]}" --download-only install "$@" >&2 ||
        { apt-get -qq update >&2 && "${apt[@]}" --download-only install "$@" >&2; } || return
    "${apt[@]}" --simulate install "$@" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' |
        while read -r name version; do
            # shellcheck disable=SC2053 # a pattern
            [[ $name != $names ]] ||
                dpkg-deb -x "$IMAGES/archives/${name}_${version//:/%3a}_"*.deb "$folder"
        done
}

# kept NAME FOLDER...: where what NAME is made into is kept, as long as nothing in FOLDERs changes.
kept() {
    local name=$1
    shift
    echo "$IMAGES/$name-$(find "$@" -type f -exec cat {} + | sha256sum | cut -c 1-16)"
}
