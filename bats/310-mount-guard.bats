#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The hook mount-guard: which mounts it finds, and what containers can still write.
#
# bats file_tags=oldest-and-newest

load helpers
load containers

# The mounts: what to ask podman for, and whether a container that can write there
# can damage what the host boots. @ stands for the place in the container.
mounts() {
    cat <<'END'
-v /sysroot/ostree:@                                       guarded
-v /sysroot/ostree/repo:@                                  guarded
-v /sysroot/ostree/repo/config:@                           guarded
-v /sysroot/ostree/bootc/storage:@                         guarded
-v /usr/lib/bootc/storage:@                                guarded
-v /run/bootc/storage:@                                    guarded
-v /ostree:@                                               guarded
-v /ostree/repo:@                                          guarded
-v /boot:@                                                 guarded
-v /boot/efi:@                                             guarded
-v /boot/loader:@                                          guarded
-v /srv/link:@                                             guarded
-v /srv/chain:@                                            guarded
-v /srv/link/objects:@                                     guarded
-v /sysroot/ostree/../ostree/./repo/:@                     guarded
-v /sysroot/../sysroot/ostree:@                            guarded
-v /srv/bind:@                                             guarded
-v /srv/bind/objects:@                                     guarded
-v /srv/bind-of-bind:@                                     guarded
-v /srv/again/ostree/repo:@                                guarded
-v /srv/deployment:@                                       guarded
-v /sysroot/ostree/repo:@:rw,rslave                        guarded
-v /sysroot/ostree/repo:@:rshared,nosuid,nodev             guarded
--mount=type=bind,src=/sysroot/ostree/repo,dst=@           guarded
--mount=type=bind,src=/srv/link,dst=@,bind-propagation=slave guarded
-v /sysroot/ostree/deploy/default/etc:@                    guarded
-v /sysroot/ostree/repo:@:ro                               readonly
--mount=type=bind,src=/boot/loader,dst=@,ro=true           readonly
-v /boot:@:ro,bind                                         readonly
-v /:@                                                     free
-v /sysroot:@                                              free
-v /srv/again:@                                            free
-v /srv/plain:@                                            free
-v /srv/plain/../plain:@:rslave                            free
-v /sysroot/ostree-sibling:@                               free
-v /etc:@                                                  free
-v /etc/containers:@                                       free
-v /run:@                                                  free
-v /srv/to-parent:@                                        free
-v volume:@                                                free
-v boot-volume:@                                           guarded
-v overlay-volume:@                                        guarded
-v plain-overlay-volume:@                                  free
--mount=type=tmpfs,dst=@                                   free
--tmpfs=@                                                  free
END
}

setup_file() {
    container_conf
    ostree_host
    mkdir -p /usr/lib/bootc /srv/{plain,bind,bind-of-bind,again,deployment} /sysroot/ostree-sibling /sysroot/ostree/deploy/default/deploy/x.0
    ln -sfn ../../../../sysroot/ostree/bootc/storage /usr/lib/bootc/storage
    mount -t tmpfs boot /boot
    mkdir /boot/efi /boot/loader
    mount -t tmpfs efi /boot/efi
    ln -s /sysroot/ostree/repo /srv/link
    ln -s link /srv/chain
    ln -s /sysroot /srv/to-parent
    mount --bind /sysroot/ostree/repo /srv/bind
    mount --bind /srv/bind /srv/bind-of-bind
    mount --bind /sysroot/ostree/deploy/default/deploy/x.0 /srv/deployment
    # The same file system a second time.
    mount "$(findmnt -no SOURCE /sysroot)" /srv/again
    # A booted deployment's /etc lies in it.
    cp -a /etc /sysroot/ostree/deploy/default/etc
    mount --bind /sysroot/ostree/deploy/default/etc /etc
    shell_context /srv/image
    podman build -q -t localhost/shell /srv/image >/dev/null
    podman volume create volume
    # Volumes that podman mounts as overlays, over directories of their own.
    mkdir -p /boot/loader/upper /boot/work /sysroot/plain/upper /sysroot/plain/work
    podman volume create --opt type=overlay --opt device=overlay --opt o=lowerdir=/srv/plain,upperdir=/boot/loader/upper,workdir=/boot/work overlay-volume
    podman volume create --opt type=overlay --opt device=overlay \
        --opt o=lowerdir=/srv/plain,upperdir=/sysroot/plain/upper,workdir=/sysroot/plain/work plain-overlay-volume
    podman volume create --opt type=none --opt o=bind --opt device=/boot boot-volume
}

teardown_file() {
    podman volume rm volume boot-volume overlay-volume plain-overlay-volume
    rm -f /etc/containers/containers.conf
    umount /etc /srv/again /srv/deployment /srv/bind-of-bind /srv/bind /boot/efi /boot /sysroot
}

teardown() {
    podman rm -fa -t 0 >/dev/null
    bp hooks uninstall
}

# ask FILTER - an array of podman's options for the mounts of these kinds, in the
# places /m/1, /m/2, …, and expectations by place.
ask() {
    local line kind n=0
    options=() kinds=()
    while read -r line; do
        kind=${line##* }
        n=$((n + 1))
        kinds[n]=$kind
        line=${line%"$kind"}
        # shellcheck disable=SC2206 # an option and its value
        options+=(${line//@//m/$n})
    done < <(mounts)
}

# try - what a container can write: a line of the number and "yes" or "no" each.
try() {
    run_container --name "$1" "${@:2}" localhost/shell sh -c '
        for m in /m/*; do
            if [ -d "$m" ]; then file=$m/probe; else file=$m; fi
            if (: >>"$file") 2>/dev/null; then echo "${m##*/} yes"; else echo "${m##*/} no"; fi
        done'
}

# unlike NAME - the configuration but for the options of the mounts in /m.
unlike() { final_config "$1" | jq -S 'del(.mounts[] | select(.destination | startswith("/m/")) | .options) | del(.hostname, .annotations, .hooks, .process.env, .linux.cgroupsPath, .root, .mounts[].source) | .mounts |= sort_by(.destination)'; }

# writable NAME PLACE - whether the options in the configuration let it be written.
writable() {
    final_config "$1" | jq -r --arg at "/m/$2" '.mounts[] | select(.destination == $at) | .options
        | map(select(. == "rw" or . == "ro" or . == "rro")) | last // "rw" | if . == "rw" then "yes" else "no" end'
}

# check MODE GUARDED - all mounts at once: what is guarded can be written or not.
check() {
    local n want got
    install_hooks --mode "$1"
    ask
    [ "${#kinds[@]}" -ge 25 ]
    run -0 try "$1" "${options[@]}"
    got=$output
    for n in "${!kinds[@]}"; do
        case ${kinds[n]} in
        guarded) want=$2 ;;
        readonly) want=no ;;
        free) want=yes ;;
        esac
        assert "$(grep "^$n " <<<"$got")" == "$n $want" "$1: $(mounts | sed -n "${n}p"): written"
        assert "$(writable "$1" "$n")" == "$want" "$1: $(mounts | sed -n "${n}p"): configured"
    done
}

@test "mount-guard: warn lets containers write, and records it" {
    journal_start
    check warn yes
    journal_stop
    assert "$(grep -ac '^BOOTC_PODMAN_PROTECTED=' /srv/journal)" == "$(mounts | grep -c guarded)" "records"
    assert "$(grep -ac '^BOOTC_PODMAN_CONTAINS=' /srv/journal)" == 5 "records of mounts of parents"
    # Nothing else changes either.
    unlike warn >/srv/warn.json
    bp hooks uninstall
    ask
    run -0 try plain "${options[@]}"
    unlike plain | diff - /srv/warn.json
}

@test "mount-guard: a writable mount of a parent passes, with a journal record" {
    local mode
    for mode in warn enforce deny; do
        install_hooks --mode "$mode"
        rm -f /srv/journal
        journal_start
        run -0 run_container --rm -v /:/host localhost/shell sh -c ': >/host/srv/plain/written && echo written'
        assert "$output" == written "$mode"
        run -0 run_container --rm -v /:/host:ro localhost/shell true
        journal_stop
        assert "$(grep -ac '^BOOTC_PODMAN_CONTAINS=.*/sysroot/ostree' /srv/journal)" == 1 "$mode: records"
        grep -aq 'mount of "/" on "/host", which contains .*/sysroot/ostree.*, is writable' /srv/journal
    done
}

@test "mount-guard: enforce makes mounts read-only, and nothing else" {
    check enforce no
    unlike enforce >/srv/enforce.json
    bp hooks uninstall
    ask
    run -0 try plain "${options[@]}"
    unlike plain | diff - /srv/enforce.json
    # Other options are kept.
    local n
    n=$(mounts | grep -n rshared,nosuid | cut -d: -f1)
    assert "$(final_config enforce | jq -c --arg at "/m/$n" '.mounts[] | select(.destination == $at) | .options | sort')" \
        =~ '"nodev","nosuid","rbind",.*"ro","rshared"'
}

@test "mount-guard: enforce goes for what is mounted below, too" {
    install_hooks --mode enforce
    run run_container --name below -v /boot:/m/boot localhost/shell sh -c ': >/m/boot/efi/probe'
    assert "$status" != 0 "written below a mount that was made read-only"
    assert "$output" =~ "Read-only file system"
}

@test "mount-guard: a read-only mount with a writable one below is found" {
    local below='cannot be written below'
    run -0 run_container --rm -v /boot:/m/boot:ro localhost/shell sh -c ': >/m/boot/efi/probe'
    install_hooks --mode enforce
    run run_container --rm -v /boot:/m/boot:ro localhost/shell sh -c "(: >/m/boot/efi/probe) || echo $below"
    assert "$output" =~ "$below"
    install_hooks --mode deny
    run run_container --name ro -v /boot:/m/boot:ro localhost/shell true
    assert "$status" != 0 "starts"
    assert "$(jq -r .reason /run/bootc-podman/denied/"$(podman container inspect --format '{{.Id}}' ro)".json)" == \
        '"/boot/efi" below the read-only mount of "/boot" on "/m/boot", which is in /boot, is writable'
    mount -o remount,bind,ro /boot/efi
    run -0 run_container --rm -v /boot:/m/boot:ro localhost/shell true
    mount -o remount,bind,rw /boot/efi
}

@test "mount-guard: the upper directory of an overlay" {
    local overlay=/srv/plain:/m/1:O,upperdir=/boot/loader,workdir=/boot/work2
    mkdir -p /boot/work2
    install_hooks --mode enforce
    run -0 try enforced -v "$overlay"
    assert "$output" == "1 no"
    install_hooks --mode deny
    run try denied -v "$overlay"
    assert "$status" != 0 "starts"
    # podman's own is in the container's directory.
    run -0 try own -v /srv/plain:/m/1:O -v /boot:/m/2:O
    assert "$output" == $'1 yes\n2 yes'
    run -0 try allowed --annotation io.bootc-podman.allow-host-rw=true -v "$overlay"
    assert "$output" == "1 yes"
}

@test "mount-guard: deny lets no container start" {
    rm -rf /run/bootc-podman/denied
    install_hooks --mode deny
    ask
    local n=0 line kind
    while read -r line; do
        kind=${line##* }
        n=$((n + 1))
        line=${line%"$kind"}
        # shellcheck disable=SC2086 # an option and its value
        run try "c$n" ${line//@//m/1}
        case $kind in
        guarded) assert "$status" != 0 "$line starts: $output" ;;
        readonly) assert "$status $output" == "0 1 no" "$line" ;;
        free) assert "$status $output" == "0 1 yes" "$line" ;;
        esac
    done < <(mounts)
    # No more than is of use is left of it.
    assert "$(find /run/bootc-podman/denied -type f | wc -l)" == "$(mounts | grep -c guarded)"
    assert "$(jq -r .reason /run/bootc-podman/denied/"$(podman container inspect --format '{{.Id}}' c1)".json)" =~ \
        'mount of "/sysroot/ostree" on "/m/1", which is in /sysroot/ostree, is writable'
}

@test "mount-guard: mounts of another container are seen" {
    # podman does not count them as bind mounts for hooks.
    install_hooks --mode deny
    podman create --name donor -v /boot:/m/1 localhost/shell true
    run try denied --volumes-from donor
    assert "$status" != 0 "starts: $output"
    install_hooks --mode enforce
    run -0 try enforced --volumes-from donor
    assert "$output" == "1 no"
}

@test "mount-guard: an annotation lets a container alone" {
    install_hooks --mode deny
    run -0 try allowed --annotation io.bootc-podman.allow-host-rw=true -v /sysroot/ostree/repo:/m/1
    assert "$output" == "1 yes"
    run try refused --annotation io.bootc-podman.allow-host-rw=yes -v /sysroot/ostree/repo:/m/1
    assert "$status" != 0
}

@test "mount-guard: an image does not let itself alone" {
    install_hooks --mode deny
    podman build -q --no-cache --annotation io.bootc-podman.allow-host-rw=true -t localhost/hostile /srv/image >/dev/null
    run run_container --rm -v /sysroot/ostree/repo:/m/1 localhost/hostile true
    assert "$status" != 0 "starts"
    run -0 run_container --rm -v /srv/plain:/m/1 localhost/hostile true
    podman rmi localhost/hostile >/dev/null
}

@test "mount-guard: whatever goes wrong, containers start" {
    install_hooks --mode deny
    # No journal, and a state that cannot be written.
    mount -t tmpfs -o ro none /run/bootc-podman
    run try refused -v /sysroot/ostree/repo:/m/1
    umount /run/bootc-podman
    assert "$status" != 0
    local input
    for input in '' '{' 'no JSON' '[]' '{"mounts":1}' '{"mounts":[{"type":"bind","options":{}}]}'; do
        run -0 --separate-stderr "$BOOTC_PODMAN" hook mount-guard --mode deny <<<"$input"
        assert "$output" == "$input"
    done
    truncate -s 100M /srv/large
    "$BOOTC_PODMAN" hook mount-guard --mode deny </srv/large >/srv/handed-on
    cmp /srv/handed-on /srv/large
    rm /srv/handed-on
    run -0 "$BOOTC_PODMAN" hook mount-guard --mode of-tomorrow <<<'{}'
    assert "$output" == '{}'
}
