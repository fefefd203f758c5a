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
    podman info 2>&1 >/dev/null | head -n 3 | note
    bp '?' image ls
    head -n 3 <<<"$stderr" | note
    bp '?' run --rm --network none registry.example/app:1 cat /text
    head -n 3 <<<"$stderr" | note
    journalctl -b -k --no-pager -o cat | grep 'avc: *denied' >denials || true
    grep -c . denials | note
    run ! grep 'comm="bootc-podman' denials
}
