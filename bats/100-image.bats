#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The passthrough on a store that bootc made, and bootc on what we did to it.

load helpers

setup_file() {
    mount_sysroot xfs
    source_archive source
}

teardown_file() { umount /sysroot; }

setup() {
    new_sysroot
    oracle_init
    cd "$BATS_TEST_TMPDIR"
    SOURCE=docker-archive:/srv/source.tar
}

# The names of all images in the store, as bootc's podman sees them.
oracle_names() { oracle images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' '; }

@test "image ls: an empty store made by bootc" {
    bp image ls --format '{{.Id}}'
    assert "$output" == ""
}

@test "image: every command works on bootc's store, and bootc after it" {
    bp image pull "$SOURCE"
    local id=$output
    assert "$(oracle images -q --no-trunc)" == "sha256:$id" pull

    bp image untag localhost/source
    bp image tag "$id" localhost/one
    assert "$(oracle_names)" == "localhost/one:latest " tag

    context ctx two
    bp image build -t localhost/two ctx
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " build

    bp image inspect --format '{{.Labels.test}}' localhost/two
    assert "$output" == two inspect
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " inspect
    assert "$(oracle image inspect --format '{{.Labels.test}}' localhost/two)" == two

    bp image save -o two.tar localhost/two
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " save
    bp image ls
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " ls
    bp image exists localhost/two
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " exists
    bp image rm localhost/two
    bp 1 image exists localhost/two
    assert "$(oracle_names)" == "localhost/one:latest " rm

    bp image load -i two.tar
    bp image exists localhost/two
    assert "$(oracle_names)" == "localhost/one:latest localhost/two:latest " load

    # And the other way round.
    oracle rmi localhost/one >/dev/null
    oracle tag localhost/two localhost/three
    bp image ls --format '{{.Repository}}'
    assert "$(sort <<<"$output" | tr '\n' ' ')" == "localhost/three localhost/two "
    bp images -q
    assert "$(sort -u <<<"$output" | wc -l)" == 1
}

@test "image: content arrives whole" {
    head -c 3000000 /dev/urandom >blob
    printf 'FROM scratch\nCOPY blob /blob\n' >Containerfile
    bp image build -q -t localhost/blob .
    local mnt
    # The mount ends with the namespace that podman made it in.
    bp exec -- sh -c 'cmp blob "$(podman image mount localhost/blob)/blob" && podman image unmount localhost/blob'
    mnt=$(oracle image mount localhost/blob)
    assert "$mnt" =~ ^/run/bootc/storage/
}

@test "image build: RUN steps" {
    mkdir -p ctx/bin && cp "$BOOTC_PODMAN" ctx/bin/program
    printf 'FROM scratch\nCOPY bin /bin\nRUN ["/bin/program", "version"]\n' >ctx/Containerfile
    # The default isolation needs a runtime that works on this machine, and
    # some machines forbid raising limits.
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\npids_limit = 0\n' >containers.conf
    CONTAINERS_CONF=$PWD/containers.conf bp image build --isolation chroot -t localhost/run ctx
    assert "$output" =~ bootc-podman\ version
    oracle image exists localhost/run
}

@test "image: exit statuses are podman's" {
    bp 0 image ls
    bp 1 image exists localhost/absent
    bp 125 image inspect localhost/absent
    bp 125 image nosuchcommand
    if "$BOOTC_PODMAN" image exists localhost/absent; then die "exists in if"; fi
}

@test "image load: reads standard input" {
    context ctx
    bp image build -q -t localhost/a ctx
    "$BOOTC_PODMAN" image save localhost/a >a.tar
    bp image rm localhost/a
    "$BOOTC_PODMAN" image load <a.tar
    bp image exists localhost/a
}

@test "image import: a pipe on standard input, a file on descriptor 4" {
    mkdir root && echo hi >root/file
    tar -C root -c . | "$BOOTC_PODMAN" image import -q - localhost/piped
    tar -C root -cf root.tar .
    "$BOOTC_PODMAN" image import -q /dev/fd/4 localhost/descriptor 4<root.tar
    assert "$(oracle_names)" == "localhost/descriptor:latest localhost/piped:latest "
}

# record ARG... - run the passthrough with a podman that only writes down what
# it got; leaves files argv and env.
record() {
    cat >podman <<'EOF'
#!/bin/bash
printf '%s\0' "$@" >argv
cp /proc/self/environ env
EOF
    chmod +x podman
    BOOTC_PODMAN_PODMAN=$PWD/podman "$BOOTC_PODMAN" "$@"
}

@test "image: arguments reach podman byte for byte" {
    # shellcheck disable=SC1003
    local args=(ls '' $'two\nlines' -- --help -h --sysroot x --dry-run '$HOME' $'\xff\xfe' "it's" '\' '*')
    record image "${args[@]}"
    printf '%s\0' image "${args[@]}" >want
    tail -z -n "$((${#args[@]} + 1))" argv | cmp - want
    # The recorder reports a difference.
    printf '%s\0' image "${args[@]:1}" >want
    if tail -z -n "$((${#args[@]} + 1))" argv | cmp -s - want; then die "the recorder saw no difference"; fi
}

@test "image: the store is opened as bootc opens it" {
    record image ls
    assert "$(tr '\0' ' ' <argv)" == "--root /run/bootc/storage --runroot /proc/self/fd/3 image ls "
}

@test "image: options that lead podman to another store are refused" {
    local command
    while read -r command; do
        # shellcheck disable=SC2086 # words
        bp 125 $command
        [[ $stderr == "Error: pass on "*$'\n'"Hint: "*" exec "* ]] || die message
    done <<EOF
image --root $PWD/other ls
image ls --root $PWD/other
image ls -a --root=$PWD/other --runroot $PWD/run
images --root $PWD/other
image pull --storage-driver vfs $SOURCE
image --storage-opt overlay.mountopt=nodev ls
image --remote ls
image -r ls
image --url unix:///nonexistent ls
image --volumepath $PWD/other ls
EOF
    [ ! -e other ] && [ ! -e run ] || die "a store was made"
    bp image ls --filter reference=--root
    bp 125 image inspect -- --root
}

# Every option of podman's own commands: what takes a value takes the next word.
@test "image: the value of an option is not taken for an option" {
    local command letter name type words known=0
    for command in build diff exists history import inspect list load mount prune pull push rm save scp search sign tag \
        tree 'trust set' 'trust show' unmount untag; do
        # shellcheck disable=SC2086 # words
        words=$(podman image $command --help | sed -nE '/^Options:/,$ s/^ +(-([a-zA-Z]), +)?--([a-z0-9-]+)( ([^ ]+)?)?(  .*)?$/\2,\3,\5/p')
        while IFS=, read -r letter name type; do
            for option in ${letter:+-$letter} ${name:+--$name}; do
                # An optional value, "[=...]", follows in the same word.
                if [ -n "$type" ] && [[ $type != *=\"* ]]; then
                    # shellcheck disable=SC2086 # words
                    bp --dry-run image $command "$option" --root
                    assert "${output##*podman}" =~ "$option --root"\$ "$command"
                else
                    # shellcheck disable=SC2086 # words
                    bp 125 --dry-run image $command "$option" --root
                    assert "$stderr" =~ 'pass on --root' "$command"
                    # shellcheck disable=SC2086 # words
                    bp --dry-run image $command "$option" --help
                    assert "$output" !~ ' --runroot ' "$command $option: help is known"
                fi
                known=$((known + 1))
            done
        done <<<"$words"
    done
    [ "$known" -gt 100 ] || die "only $known options"
}

@test "image: a podman that calls bootc-podman is no endless loop" {
    mkdir bin
    printf '#!/bin/sh\necho "$$" >>calls\nexec "$BOOTC_PODMAN" images\n' >bin/podman
    chmod +x bin/podman
    for command in 'image ls' init 'image --help' 'exec podman'; do
        [ "$command" != init ] || rm -rf "$STORE"
        rm -f calls
        # shellcheck disable=SC2086 # words
        PATH=$PWD/bin:$PATH run --separate-stderr timeout 20 "$BOOTC_PODMAN" $command
        # exec has it make a database before, and the program is not run as podman.
        assert "$(wc -l <calls)" == "$([[ $command != exec* ]] && echo 1 || echo 3)" "$command"
        assert "$stderr" =~ 'it called bootc-podman' "$command"
        [ -e "$STORE" ] || oracle_init
    done
    assert "$status" == 126
    # One that says which is the real one is none.
    printf '#!/bin/sh\nBOOTC_PODMAN_PODMAN=%s exec "$BOOTC_PODMAN" images --format x\n' "$(command -v podman)" >bin/podman
    PATH=$PWD/bin:$PATH bp image ls
}

@test "image: PATH that is not set is the system's" {
    run -0 --separate-stderr env -u PATH "$BOOTC_PODMAN" image ls --format '{{.Id}}'
    run -0 --separate-stderr env -u PATH "$BOOTC_PODMAN" exec true
}

@test "image: a podman command line in the environment may hold options" {
    BOOTC_PODMAN_PODMAN='podman --log-level=debug' bp image ls
    assert "$stderr" =~ level=debug
    BOOTC_EXP_EXTERNAL_CONTAINER_TOOL=/nonexistent/tool bp 127 image ls
    assert "$stderr" =~ BOOTC_EXP_EXTERNAL_CONTAINER_TOOL
    bp --log-level debug image ls
    assert "$stderr" =~ level=debug
}

@test "image: death by signal arrives unchanged" {
    cat >podman <<'EOF'
#!/bin/bash
kill -TERM $$
EOF
    chmod +x podman
    # The shell says 128 plus the number.
    run env BOOTC_PODMAN_PODMAN="$PWD/podman" "$BOOTC_PODMAN" image ls
    assert "$status" == 143
    cat >podman <<'EOF'
#!/bin/bash
exit 42
EOF
    BOOTC_PODMAN_PODMAN=$PWD/podman bp 42 image ls
}

@test "image: the process that was started is podman" {
    cat >podman <<'EOF'
#!/bin/bash
echo $$
EOF
    chmod +x podman
    run env BOOTC_PODMAN_PODMAN="$PWD/podman" bash -c 'echo $$; exec "$BOOTC_PODMAN" image ls'
    assert "${lines[0]}" == "${lines[1]}"
}

@test "image: signals are at their defaults for podman, or hang-up ignored" {
    cat >podman <<'EOF'
#!/bin/bash
while read -r name mask; do
    # Not 32 and up: the C library and the Go runtime keep the first of them.
    [[ $name != Sig@(Blk|Ign): ]] || printf '%s %x\n' "$name" $((0x$mask & 0x7fffffff))
done </proc/self/status
EOF
    chmod +x podman
    # Whatever this test was started with.
    run env --default-signal BOOTC_PODMAN_PODMAN="$PWD/podman" "$BOOTC_PODMAN" image ls
    local through=$output
    run env --default-signal ./podman
    assert "$through" == "$output"
    run env --default-signal nohup env BOOTC_PODMAN_PODMAN="$PWD/podman" "$BOOTC_PODMAN" image ls
    through=$output
    run env --default-signal nohup ./podman
    assert "$through" == "$output" nohup
}

@test "image: limits and umask are the caller's" {
    cat >podman <<'EOF'
#!/bin/bash
ulimit -a
umask
EOF
    chmod +x podman
    ulimit -Sn 512
    umask 027
    run env BOOTC_PODMAN_PODMAN="$PWD/podman" "$BOOTC_PODMAN" image ls
    local through=$output
    run ./podman
    assert "$through" == "$output"
}
