#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# bats file_tags=oldest-and-newest

load helpers

setup_file() {
    mount_sysroot xfs
    local i
    for i in 0 1 2 3 4; do
        source_archive "source$i" "text $i"
    done
}

teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    cd "$BATS_TEST_TMPDIR"
}

# mix COMMAND... - two hundred "image ls", pull and rm at once, each "COMMAND image ...".
# Prints the message of each that failed.
mix() {
    local i n pids=() message
    for i in {0..199}; do
        n=$((i % 5))
        case $((i / 5 % 4)) in
        0) set -- "$1" ls -q ;;
        1 | 3) set -- "$1" pull -q "docker-archive:/srv/source$n.tar" ;;
        2) set -- "$1" rm "localhost/source$n" ;;
        esac
        ("$1" image "${@:2}" >/dev/null 2>"$i.err" || echo "exit status $?: image ${*:2}" >>"$i.err") 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    for i in {0..199}; do
        grep -q '^exit status' "$i.err" || continue
        # Without what podman logs.
        message=$(grep -vE '^(exit status |time=)' "$i.err" | tr '\n' ' ')
        echo "${message% }"
    done
}

# race MESSAGE - what went missing, in podman's own words, while another command ran:
# "image", which is what the test is about, or what podman by itself has races over.
# Fails for any other message.
race() {
    case $1 in
    *Error:*Error:*) return 1 ;;
    Error:*': image not known') echo image ;;
    # An image that went between two looks at it.
    Error:*'locating item named "manifest" for image with ID '*': file does not exist') echo image ;;
    Error:*'reading data blob size "'*'" for '*': size is not known') echo image ;;
    Error:*'parsing named reference "'*'cannot specify 64-byte hexadecimal strings') echo image ;;
    # Its layers go with it.
    Error:*': layer not known') echo layer ;;
    Error:*': identifier is not a layer, image, or container') echo record ;;
    Error:*': layer for blob "sha256:'*'" not found') echo blob ;;
    # podman 5.8 takes the temporary directory of another one for an abandoned one, about
    # once in three thousand commands.
    Error:*/tempdirs/temp-dir-*': no such file or directory') echo tempdir ;;
    Error:*': unpacking failed (error: exit status 1; output: open /file: no such file or directory)') echo tempdir ;;
    *) return 1 ;;
    esac
}

@test "two hundred ls, pull and rm at once" {
    bp init
    local message name n
    declare -A ours=() podmans=()
    while read -r message; do
        name=$(race "$message") || die "no race of podman: $message"
        ours[$name]=$message
    done < <(mix "$BOOTC_PODMAN")
    unset "ours[image]"

    # podman alone, called as bootc does, has the same races; rare ones take a while.
    for n in {1..60}; do
        for name in "${!ours[@]}"; do
            [ -z "${podmans[$name]-}" ] || unset "ours[$name]"
        done
        [ "${#ours[@]}" -gt 0 ] || break
        while read -r message; do
            name=$(race "$message") || continue # none of those to be shown
            podmans[$name]=1
        done < <(mix oracle)
    done
    assert "${#ours[@]}" == 0 "podman alone did not show: ${ours[*]-}"

    # What is there at the end is whole.
    for n in 0 1 2 3 4; do
        bp image pull -q "docker-archive:/srv/source$n.tar"
    done
    assert "$(oracle images -q | sort -u | wc -l)" == 5
    for n in $(oracle images -q); do
        oracle image inspect --format '{{.RootFS.Type}}' "$n"
        local mnt
        mnt=$("$BOOTC_PODMAN" exec -- sh -c 'grep -c "^text" "$(podman image mount "$1")/file"; podman image unmount "$1" >/dev/null' sh "$n")
        assert "$mnt" == 1
    done
}
