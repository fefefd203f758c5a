# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Files that stand in a document: blocks whose first line is "# " with the name of the file.

# document_files DOCUMENT DIR - write those with an absolute path below DIR.
document_files() {
    local name
    # shellcheck disable=SC2013 # names without blanks
    for name in $(grep -A1 '^```' "$1" | sed -n 's/^# \(\/[^ ]*\)$/\1/p'); do
        mkdir -p "$2${name%/*}"
        document_file "$1" "$name" >"$2$name"
    done
}

# document_file DOCUMENT NAME - print one.
document_file() {
    awk -v first="# $2" '/^```/ { fence = NR; if (in_file) exit; next } fence == NR - 1 && $0 == first { in_file = 1 } in_file { found = 1; print } END { exit !found }' "$1"
}
