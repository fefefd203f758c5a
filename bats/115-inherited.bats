#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What a child process inherits, and that no build and no other user reaches the registry
# credentials.

load helpers
load containers

SECRET=$(printf user:secret | base64)

setup_file() {
    mount_sysroot xfs
    new_sysroot
    oracle_init
    container_conf
    # A registry that has no image, and says so at once.
    mkdir -p /etc/ostree /srv/hostile /srv/none
    new_registry /srv/none
    printf '{"auths":{"%s":{"auth":"%s"}}}' "$REGISTRY" "$SECRET" >/etc/ostree/auth.json
    # A build that looks for descriptors and files which lead out of it, prints what is in
    # them, and writes a helper for credentials into them: a program of the build context,
    # which podman runs when it looks for those of the registry.
    cd /srv/hostile
    shell_context .
    cp -L "$(type -P readlink)" root/bin/
    cp -L "$(type -P env)" root/bin/
    sed "s/REGISTRY/$REGISTRY/" >root/probe <<'END'
for fd in /proc/self/fd/*; do target=$(readlink "$fd") && echo "fd ${fd##*/} ${target%%:*}"; done
env | while read -r line; do echo "env $line"; done
echo "cwd $PWD, umask $(umask)"
while read -r name value; do case $name in SigBlk: | SigIgn:) echo "$name $value" ;; esac; done </proc/self/status
evil='{"credHelpers":{"REGISTRY":"x/helper"}}'
pid=$$
while [ "$pid" -gt 1 ]; do
    for file in /proc/$pid/fd/* /proc/$pid/root/run/bootc-podman/private/auth.json /proc/$pid/root/etc/ostree/auth.json; do
        [ ! -f "$file" ] || { echo "leak $file: $(cat "$file")"; echo "$evil" >"$file"; }
    done
    while read -r name value; do [ "$name" != PPid: ] || pid=$value; done </proc/$pid/status
done 2>/dev/null
echo "reached the end"
END
    mkdir docker-credential-x
    printf '#!/bin/sh\ntouch /srv/executed\n' >docker-credential-x/helper
    chmod +x docker-credential-x/helper
    printf 'FROM scratch\nCOPY root /\nRUN ["/bin/sh", "-c", "eval \\"$(cat /probe)\\""]\nCOPY --from=%s/image / /\n' "$REGISTRY" >Containerfile
}

teardown_file() {
    kill "$(cat /srv/none/registry.pid)"
    rm -rf /etc/ostree /etc/containers/containers.conf /etc/containers/registries.conf.d/000-test.conf
    umount /sysroot
}

setup() {
    cd "$BATS_TEST_TMPDIR"
    rm -f /srv/executed
}

# closed COMMAND... - run a command with descriptors 0, 1 and 2 alone.
closed() {
    (
        exec 0</dev/null
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null || true
        done
        exec "$@"
    )
}

@test "a RUN step of a hostile build reaches no credentials, and nothing runs outside of it" {
    local row
    cd /srv/hostile
    for row in 'image build --isolation chroot' 'exec -- buildah build --isolation chroot' \
        'image build --isolation oci --runtime runc --network none'; do
        # shellcheck disable=SC2086 # words
        run closed "$BOOTC_PODMAN" $row --no-cache .
        echo "$row: $output"
        # The image of the last step cannot be had.
        [ "$status" -ne 0 ] || die "$row: it ended well"
        assert "$output" =~ "reached the end" "$row"
        assert "$output" =~ "$REGISTRY/image" "$row"
        [ ! -e /srv/executed ] || die "$row: a file of the build was executed"
        assert "$output" !~ leak "$row"
        assert "$output" !~ "$SECRET" "$row"
    done
    # What the build does is no idle threat.
    printf '{"credHelpers":{"%s":"x/helper"}}' "$REGISTRY" >/srv/evil.json
    bp '?' --authfile /srv/evil.json image pull "$REGISTRY/image"
    [ -e /srv/executed ] || die "the helper cannot be executed"
}

# steps PODMAN... - what a RUN step in chroot isolation has, sorted.
steps() {
    # The build fails in its last step.
    (closed "$@" build --isolation chroot --no-cache /srv/hostile || true) 2>&1 |
        grep -E '^(fd|env|cwd|Sig)' | grep -v ^env\ HOSTNAME= | sort
}

@test "a RUN step in chroot isolation has what one of plain podman has" {
    local have
    have=$(steps "$BOOTC_PODMAN" image)
    # Descriptor 3 is a pipe of podman's own.
    assert "$(grep ^fd <<<"$have" | tr '\n' ' ')" == 'fd 0 pipe fd 1 pipe fd 2 pipe fd 3 pipe '
    assert "$have" == "$(umask 022; steps podman)"
    # Descriptors of the caller's are the caller's to close, with both.
    have=$(steps bash -c 'exec "$BOOTC_PODMAN" image "$@" 7</dev/null' bash)
    assert "$have" =~ 'fd 7 '
    assert "$have" == "$(steps bash -c 'exec podman "$@" 7</dev/null' bash)"
}

# having - what a program has, for a shell.
# shellcheck disable=SC2016
having='
for fd in /proc/self/fd/*; do ! target=$(readlink "$fd") || echo "fd ${fd##*/} ${target%%:*}"; done
env | grep -v ^_=
echo "cwd $PWD, umask $(umask)"
grep -E "^(Sig(Blk|Ign)|Cap...|NoNewPrivs|Seccomp):" /proc/self/status
sed "s/^/mount /" /proc/self/mountinfo | cut -d" " -f1,6'

@test "a program under exec has what the caller has, and what the manual lists" {
    umask 027
    closed bash -c "$having" | sort >before
    closed "$BOOTC_PODMAN" exec -- bash -c "$having" | sort >after
    # Of the signals that the caller ignores only HUP and INT, 1 and 2, stay ignored.
    local ignored
    ignored=$(($(sed -n 's/^SigIgn:[[:space:]]*/0x/p' before)))
    assert "$(($(sed -n 's/^SigIgn:[[:space:]]*/0x/p' after) & ~ignored))" == 0 "ignored signals"
    assert "$(($(sed -n 's/^SigIgn:[[:space:]]*/0x/p' after) & 3))" == "$((ignored & 3))" "ignored signals"
    sed -i '/^SigIgn:/d' before after
    # Files that were opened before are outside of the namespace, and have another path.
    sed -i -E 's/^(fd [012]) .*/\1/' before after
    assert "$(diff before after | grep '^[<>]' | sort)" == "> CONTAINERS_STORAGE_CONF=/run/bootc-podman/storage.conf
> REGISTRY_AUTH_FILE=/run/bootc-podman/private/auth.json
> fd 3 /run/bootc-podman/private/run-root
> mount /run/bootc-podman/private
> mount /run/bootc-podman/private/run-root
> mount /run/bootc/storage"
}

@test "no other user reaches the credentials" {
    bp exec -- setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '
        cat "$REGISTRY_AUTH_FILE" /proc/self/fd/[0-9]* 2>&1 </dev/null
        echo {} >"$REGISTRY_AUTH_FILE"
        true'
    assert "$output" !~ "$SECRET"
    assert "$output" =~ 'Permission denied'
    bp exec -- sh -c 'stat -c "%a %u %g" "${REGISTRY_AUTH_FILE%/*}" "$REGISTRY_AUTH_FILE"'
    assert "$output" == $'700 0 0\n600 0 0'
    # Nor is there anything outside of the namespace while one is there.
    mkfifo started end
    "$BOOTC_PODMAN" exec -- sh -c 'echo >started && read -r line <end' 3>&- &
    read -r <started
    assert "$(find /run/bootc-podman/private)" == /run/bootc-podman/private
    echo >end
    wait $!
}
