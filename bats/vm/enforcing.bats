#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The same host, enforcing. Debian's policy does not let podman itself work as this host is
# made, so that only what needs no podman is tested; what podman says goes into the log.

load vm

setup() { cd "$BATS_TEST_TMPDIR" || return; }

@test "host: SELinux is enforcing, and no unit failed" {
    good_host
    assert "$(getenforce)" == Enforcing
}

@test "status, list, doctor: what reads only works" {
    bp status --format json
    assert "$(jq -r '.booted.image, (.problems | length)' <<<"$output" | xargs)" == "docker://$OS 0"
    bp list
    note <<<"$output"
    bp '?' doctor
    note <<<"$output"
    assert "$output" !~ label
}

@test "podman: what it fails with is in the log" {
    # Through pipes: podman's domain may not write to the files of bats.
    podman info 2>&1 >/dev/null | head -n 3 | note
    { "$BOOTC_PODMAN" image ls || echo "exit status $?"; } 2>&1 | head -n 5 | note
    { "$BOOTC_PODMAN" run --rm --network none registry.example/app:1 cat /text || echo "exit status $?"; } 2>&1 | head -n 5 | note
    # Not of the journal, whose program is confined, too.
    dmesg | grep 'avc: *denied' | sed -n 's/.*{ \(.*\) }.*comm="\([^"]*\)".*scontext=[^:]*:[^:]*:\([^:]*\).*tcontext=[^:]*:[^:]*:\([^:]*\).*tclass=\([^ ]*\).*/\2: allow \3 \4:\5 { \1 }/p' |
        sort | uniq -c | sort -rn >denials
    [ -s denials ]
    note <denials
    run ! grep 'bootc-podman: allow initrc_t' denials
}
