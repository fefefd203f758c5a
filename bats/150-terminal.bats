#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# On a terminal, which script(1) makes.

load helpers

setup_file() { mount_sysroot xfs; }
teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    oracle_init
    cd "$BATS_TEST_TMPDIR"
    context ctx
}

# on_terminal COMMAND - in the background; its output goes to the file typescript,
# what is written to descriptor 7 is typed.
on_terminal() {
    mkfifo keys
    script -qfec "$1" typescript <keys >/dev/null 2>&1 3>&- &
    terminal=$!
    exec 7>keys
}

@test "terminal: podman has it" {
    cat >podman <<'EOF'
#!/bin/bash
[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal "$(ps -o tpgid= -p $$)" = "$(ps -o pgid= -p $$)"
EOF
    chmod +x podman
    run script -qec "env BOOTC_PODMAN_PODMAN=$PWD/podman $BOOTC_PODMAN image ls" /dev/null </dev/null
    local pattern='terminal +([0-9]+) = +([0-9]+)'
    assert "$output" =~ "$pattern"
    assert "${BASH_REMATCH[1]}" == "${BASH_REMATCH[2]}" "foreground process group"
}

@test "terminal: output is seen when it is written" {
    mkfifo go
    printf '#!/bin/bash\necho first step\nread -r <go\necho second step\n' >podman
    chmod +x podman
    on_terminal "env BOOTC_PODMAN_PODMAN=$PWD/podman $BOOTC_PODMAN image build ."
    wait_for grep -q 'first step' typescript
    run grep 'second step' typescript
    assert "$output" == ""
    echo >go
    wait_for grep -q 'second step' typescript
    exec 7>&-
    wait "$terminal"
}

@test "terminal: build shows its steps" {
    run script -qec "$BOOTC_PODMAN image build -t localhost/a ctx" /dev/null </dev/null
    assert "$(grep -c '^STEP' <<<"$output")" == 3
    bp image exists localhost/a
}

@test "terminal: Ctrl-C stops podman and leaves nothing behind" {
    local before
    before=$(mount_table)
    head -c 300000000 /dev/zero >ctx/file
    on_terminal "echo started; $BOOTC_PODMAN image build -t localhost/interrupted ctx"
    wait_for grep -q 'STEP 2' typescript
    printf '\003' >&7
    exec 7>&-
    wait "$terminal" || true
    assert "$(mount_table)" == "$before"
    # By a name of its own: other tests may run on this machine.
    assert "$(pgrep -fa "image build -t localhost/interrupted")" == ""
    bp 1 image exists localhost/interrupted
    bp image ls
    oracle images
    context ctx
    bp image build -q -t localhost/a ctx
}
