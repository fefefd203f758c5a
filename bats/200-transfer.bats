#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# Moving images: the booted one into the bootc-owned store and into podman's own.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load os-images

setup_file() {
    mount_sysroot xfs
    ln -sfn sysroot/ostree /ostree
    new_registry /srv
    cd /srv || return 1
    # An operating system of two layers, the second of which removes a file of the
    # first, and its next version.
    os_tree tree 42
    echo program >tree/usr/bin/program
    chmod 4755 tree/usr/bin/program
    head -c 3000000 /dev/urandom >tree/usr/lib/blob
    echo removed >tree/usr/lib/removed
    printf 'FROM scratch\nCOPY tree /\nLABEL containers.bootc=1 version=42\nENV A=B\n' >Containerfile.base
    echo new >new
    scratch_podman build -q --layers -t localhost/base -f Containerfile.base . >/dev/null
    printf 'FROM localhost/base\nCOPY new /usr/lib/new\nENTRYPOINT ["/usr/bin/program"]\n' >Containerfile
    scratch_podman build -q --layers -t "$REGISTRY/os:42" -f Containerfile . >/dev/null
    scratch_podman push -q "$REGISTRY/os:42"
    skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/os:42" dir:os42
    echo newer >new
    scratch_podman build -q --layers -t "$REGISTRY/os:43" -f Containerfile . >/dev/null
    DIGEST=sha256:$(sha256sum <os42/manifest.json | cut -d' ' -f1)
    REF=docker_3A__2F__2F_127_2E_0_2E_0_2E_1_3A_${REGISTRY#*:}/os_3A_42
    export DIGEST REF
}

teardown_file() {
    kill "$(cat /srv/registry.pid)" || true
    umount -q /proc/cmdline || true
    umount /sysroot
}

# A host that has booted the image of the registry, as of version 42.
setup() {
    cd "$BATS_TEST_TMPDIR"
    umount -q /proc/cmdline || true
    rm -rf /sysroot/filler /sysroot/state /var/lib/bootc-podman
    new_sysroot
    podman rmi -af >/dev/null 2>&1 || true
    boot "$REF" "ostree-unverified-registry:$REGISTRY/os:42"
}

# boot REF IMGREF - import the image under REF and boot it.
boot() {
    COMMIT=$(os_import "$1" /srv/os42)
    os_boot "$(os_deploy "$COMMIT" "$2")"
}

# digest_of NAME [PODMAN] - what podman images shows; inspect shows, since podman 5,
# that of a manifest which a copy between stores writes besides the original.
digest_of() { "${2:-oracle}" images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}' | sed -n "s|^$1 ||p"; }

# same_tree DIR - DIR is what ostree has of the booted commit, with /etc back in place.
same_tree() {
    os_ostree checkout "$COMMIT" checkout
    [ ! -d checkout/usr/etc ] || mv checkout/usr/etc checkout/etc
    diff -r --no-dereference checkout "$1"
    # The storage library decides on the mode of the root directory itself.
    (cd checkout && find . -mindepth 1 -printf '%p %y %m %U %G %l\n' | LC_ALL=C sort) >want
    (cd "$1" && find . -mindepth 1 -printf '%p %y %m %U %G %l\n' | LC_ALL=C sort) | diff want -
}

@test "set-unified: the exact image comes from the registry, though its tag moved on" {
    scratch_podman push -q "$REGISTRY/os:43" "docker://$REGISTRY/os:42"
    bp set-unified --plan --format json
    assert "$(jq -r '.source, .method, .digest, .exact, .kept' <<<"$output")" == "$(printf '%s\n' registry pull "$DIGEST" true true)"
    [ ! -e "$STORE" ]
    bp set-unified
    assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    bp status --format '{{.Unified.On}} {{.Unified.Reason}}'
    assert "$output" == "true the bootc-owned store has the booted image $REGISTRY/os:42"
    bp list --type unified --format '{{.Image}} {{.State}}'
    assert "$output" == "$REGISTRY/os:42 booted" "one name, or bootc could not remove it"
    bp set-unified
    assert "$output" == "Image $REGISTRY/os:42 is already in bootc storage."
    # The state of a newer image of the name is not that of the booted one.
    oracle pull -q "$REGISTRY/os:42"
    bp list --type unified --format '{{.Image}} {{.State}}|'
    assert "$output" == "$REGISTRY/os:42 needed by booted deployment|"
    scratch_podman push -q "$REGISTRY/os:42"
}

# sought NAME - look for an image of the bootc store as bootc upgrade does.
sought() { STORAGE_OPTS=additionalimagestore=$STORE skopeo inspect --format '{{.Digest}}' "containers-storage:$1"; }

@test "status, set-unified: a host whose skopeo ignores the store" {
    local conf=/usr/share/containers/storage.conf minimal name text want row
    minimal=$(cat $conf)
    local all=(
        "none||off" "dangling link||off" "drop-in|[storage]|off" "driver|${minimal/overlay/vfs}|off"
        "administrator|$minimal|on" "distribution|$minimal|on"
    )
    bp set-unified --quiet --from ostree
    for row in "${all[@]}"; do
        IFS='|' read -rd '' name text want <<<"$row" || true
        want=${want%$'\n'}
        # What skopeo leaves of another driver must not decide in the next row.
        rm -rf /etc/containers/storage.conf* $conf /var/lib/containers/storage/{vfs,overlay}-images
        case $name in
        dangling*) ln -s /nowhere /etc/containers/storage.conf ;;
        drop-in) mkdir /etc/containers/storage.conf.d && echo "$text" >/etc/containers/storage.conf.d/10.conf ;;
        administrator | driver) echo "$text" >/etc/containers/storage.conf ;;
        distribution) echo "$text" >$conf ;;
        esac
        run sought "$REGISTRY/os:42"
        assert "$([ "$status" == 0 ] && echo on || echo off)" == "$want" "skopeo, $name"
        bp status --format '{{if .Unified.On}}on{{else}}off{{end}}'
        assert "$output" == "$want" "status, $name"
        bp set-unified --plan --format json
        assert "$(jq -r .upgrade <<<"$output")" == "$([ "$want" == on ] && echo unified || echo fails)" "plan, $name"
        bp "$([ "$want" == on ] && echo 0 || echo 1)" set-unified
    done
    # What the hint says is enough, on each podman of the matrix.
    rm -rf $conf "$STORE"
    bp 1 set-unified --from ostree
    assert "$stderr" =~ "skopeo ignores the bootc store: neither /etc/containers/storage.conf nor /usr/share/containers/storage.conf exists"
    [ ! -e "$STORE" ]
    bash -c "$(sed -n 's/^Hint: \(.*\); --skip-upgrade-check.*/\1/p' <<<"$stderr")"
    bp set-unified --quiet --from ostree
    sought "$REGISTRY/os:42"
    podman images
    rm /etc/containers/storage.conf
    bp set-unified --skip-upgrade-check
    echo "$minimal" >$conf
}

@test "set-unified: from podman's own store, if it is what is booted" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --plan --format json
    assert "$(jq -r '.source, .method' <<<"$output")" == "$(printf '%s\n' default clone)"
    kill "$(cat /srv/registry.pid)"
    bp set-unified
    start_registry /srv "$REGISTRY"
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
}

@test "set-unified: the plan shows the other ways, and each does what it says" {
    local plan way options digest
    bp set-unified --plan
    assert "$output" =~ "Or:      --from ostree: clone, no fetch, write 0 B at least, time: metadata, same files, new digest \(ostree does not keep the archive\)"
    assert "$output" =~ "Not:     default: does not have it"
    bp set-unified --from ostree --plan --format json
    assert "$(jq '.alternatives[].bytes_to_fetch' <<<"$output")" == "$(jq '[.layers[].size] | add' /srv/os42/manifest.json)"
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --plan --format json
    plan=$output
    assert "$(jq -r '.time, .alternatives[].choose' <<<"$plan")" == "$(printf '%s\n' disk '--from registry' '--from ostree')"
    while IFS='|' read -r options digest; do
        rm -rf "$STORE" /var/lib/bootc-podman
        # shellcheck disable=SC2086 # options
        bp set-unified --quiet $options
        way=$(digest_of "$REGISTRY/os:42")
        assert "$([ "$way" == "$DIGEST" ] && echo "$DIGEST")" == "$digest" "$options"
    done < <(jq -r '.alternatives[] | "\(.choose)|\(.digest)"' <<<"$plan")
}

@test "set-unified: from podman's own store under another name" {
    podman pull -q "$REGISTRY/os@$DIGEST"
    podman tag "$REGISTRY/os@$DIGEST" localhost/other
    local method
    for method in clone podman; do
        new_sysroot
        boot "$REF" "ostree-unverified-registry:$REGISTRY/os:42"
        bp set-unified --quiet --from default --method "$method"
        assert "$(oracle images --digests --format '{{.Repository}}:{{.Tag}} {{.Digest}}')" == "$REGISTRY/os:42 $DIGEST"
    done
}

@test "set-unified: an image in podman's own store that moved on is passed over, unless accepted" {
    scratch_podman save -q -o 43.tar "$REGISTRY/os:43"
    podman load -q -i 43.tar
    podman tag "$REGISTRY/os:43" "$REGISTRY/os:42"
    bp set-unified --plan --format json
    assert "$(jq -r .source <<<"$output")" == registry
    bp 1 set-unified --from transport
    assert "$stderr" !~ Hint
    bp 1 set-unified --from default
    assert "$stderr" =~ "Hint: --accept-newer takes another image of the same name"
    assert "$stderr" =~ "no source has the booted image: bootc: does not have it; default: has sha256:[0-9a-f]{64} under this name, not what is booted"
    [ ! -e "$STORE" ]
    bp set-unified --accept-newer
    assert "$(digest_of "$REGISTRY/os:42")" == "$(digest_of "$REGISTRY/os:42" podman)"
    # skopeo finds the other image first, as the plan and the end say.
    rm -rf "$STORE" /var/lib/bootc-podman
    bp set-unified --plan
    assert "$output" =~ "Upgrade: not through the bootc store: podman's own store, where skopeo looks first, has another image of this name"
    bp set-unified --quiet
    assert "$output" =~ "Unified storage is off: ".*", where skopeo looks first, has another image of this name"
    assert "$(sought "$REGISTRY/os:42")" == "$(digest_of "$REGISTRY/os:42" podman)"
}

@test "set-unified: what was built upon an export is not the export" {
    bp copy-to-storage --quiet
    printf 'FROM localhost/bootc\nLABEL more=1\n' | podman build -q -t "$REGISTRY/os:42" -
    bp set-unified --plan --format json
    assert "$(jq -r .source <<<"$output")" == registry
    bp copy-to-storage --quiet --target "$REGISTRY/os:42"
    bp set-unified --plan --format json
    assert "$(jq -r .source <<<"$output")" == default
}

@test "set-unified: another image of the name loses it, and is named" {
    context other other
    bp image build -q -t "$REGISTRY/os:42" other
    local id=$output
    bp set-unified --plan
    assert "$output" =~ "Warning: image ${id:0:12} has this name now"
    bp set-unified
    assert "$stderr" =~ "Warning: image ${id:0:12} had this name"
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
}

@test "set-unified: names that podman stores otherwise" {
    new_sysroot
    boot "${REF/_3A_42/_40_sha256_3A_${DIGEST#*:}}" "ostree-unverified-registry:$REGISTRY/os:42@$DIGEST"
    bp set-unified
    assert "$stderr" =~ "Warning: bootc will remove the image again"
    oracle image exists "$REGISTRY/os:42@$DIGEST"
    bp set-unified
    assert "$output" =~ "is in bootc storage. Unified storage is off: ".*"skopeo refuses a name with a tag and a digest"
}

@test "copy-to-storage: a host's registries.conf cannot lead it elsewhere" {
    printf '[[registry]]\nprefix = "localhost/bootc"\nlocation = "%s/os"\ninsecure = true\n' "$REGISTRY" >/etc/containers/registries.conf.d/001-evil.conf
    scratch_podman push -q "$REGISTRY/os:43" "docker://$REGISTRY/os:latest"
    bp '?' copy-to-storage --method podman
    rm /etc/containers/registries.conf.d/001-evil.conf
    # podman 6 reads no drop-in files when a variable names the file.
    if podman_at_least 6; then
        assert "$status" == 0
        same_tree "$(podman image mount localhost/bootc)"
        podman image unmount localhost/bootc
    else
        assert "$status" == 1
        assert "$stderr" =~ "image does not match the expected one"
    fi
}

@test "transfer: a signal ends it, and nothing is left" {
    mkdir spool
    TMPDIR=$PWD/spool "$BOOTC_PODMAN" set-unified --from ostree --method podman >out 2>err 3>&- &
    local pid=$!
    wait_for grep -q Exporting err
    kill -TERM "$pid"
    wait "$pid" && die "it went on"
    assert "$(tail -1 err)" == "Error: export $REGISTRY/os:42: terminated signal received"
    assert "$(ls spool)" == ""
    assert "$(ls -d /run/bootc-podman/export 2>/dev/null)" == ""
    # Killed, it leaves podman's layers; the next one clears them away.
    TMPDIR=$PWD/spool "$BOOTC_PODMAN" set-unified --from ostree --method podman >out 2>err 3>&- &
    pid=$!
    wait_for grep -q Exporting err
    kill -KILL "$pid"
    wait "$pid" || true
    TMPDIR=$PWD/spool bp set-unified --from ostree --method podman
    assert "$(ls spool)" == ""
}

@test "set-unified: exported from ostree where the registry is out of reach" {
    kill "$(cat /srv/registry.pid)"
    bp set-unified
    start_registry /srv "$REGISTRY"
    assert "$stderr" =~ "Warning: registry: .*trying the next source"
    assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
    bp image inspect "$REGISTRY/os:42"
    assert "$(jq -r '.[0].Annotations["io.bootc-podman.original-digest"], .[0].Config.Labels["containers.bootc"], .[0].Config.Entrypoint[0], .[0].Config.Env[-1]' <<<"$output")" == \
        "$(printf '%s\n' "$DIGEST" 1 /usr/bin/program A=B)"
    bp status --format '{{.Unified.On}} {{.Unified.Reason}}'
    assert "$output" == "true the bootc-owned store has the booted image $REGISTRY/os:42"
    bp set-unified
    assert "$output" =~ "already in bootc storage"
}

@test "set-unified: a local image that podman has no more" {
    new_sysroot
    boot containers-storage_3A_localhost/os ostree-unverified-image:containers-storage:localhost/os
    bp set-unified
    oracle image exists localhost/os
    podman image ls -q >out
    assert "$(cat out)" == "" "podman's own store is left alone"
}

@test "copy-to-storage: what podman mounts is what ostree checks out" {
    bp copy-to-storage
    assert "$output" =~ "Pushed: containers-storage:localhost/bootc sha256:[0-9a-f]{64}"
    same_tree "$(podman image mount localhost/bootc)"
    podman image unmount localhost/bootc
    # And it is an ordinary image.
    printf 'FROM localhost/bootc\nLABEL derived=1\n' | podman build -q -t localhost/derived -
    podman push -q --tls-verify=false localhost/bootc "docker://$REGISTRY/exported"
    bp copy-to-storage --source "docker://$REGISTRY/os:42" --target localhost/other
    podman image exists localhost/other
    bp 1 copy-to-storage --source docker://quay.io/nope:1
    assert "$stderr" =~ "no such image"
    assert "$stderr" =~ 'Hint: "bootc-podman list --all-stores" shows'
}

@test "copy-to-storage: a container runs from it" {
    # A program that needs nothing else, and is no shell.
    install -D -m 0755 "$BOOTC_PODMAN" /srv/runs/usr/bin/program
    mkdir -p /srv/runs/proc /srv/runs/sys /srv/runs/dev /srv/runs/run /srv/runs/tmp
    os_ostree refs --list ostree/container >/dev/null
    COMMIT=$(os_image docker_3A__2F__2F_quay_2E_io/example/runs 1 /srv/runs)
    printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\npids_limit = 0\n' >containers.conf
    bp copy-to-storage --source docker://quay.io/example/runs --target localhost/runs
    CONTAINERS_CONF=$PWD/containers.conf run podman run --rm --runtime runc --network none localhost/runs /usr/bin/program version
    assert "$output" =~ "^bootc-podman version"
}

@test "copy-to-storage: the booted commit, though its name stands for another" {
    # As after an upgrade through the bootc-owned store.
    os_tree other 7
    os_image "$REF" 7 other
    bp copy-to-storage
    same_tree "$(podman image mount localhost/bootc)"
    podman image unmount localhost/bootc
}

@test "set-unified: the booted commit, though its name stands for another" {
    # As after an upgrade by ostree-ext.
    os_tree other 7
    os_image "$REF" 7 other
    bp set-unified --plan --format json
    assert "$(jq -c '[.source, .bytes_to_fetch]' <<<"$output")" == "[\"registry\",$(jq '[.layers[].size] | add' /srv/os42/manifest.json)]"
    bp set-unified --from ostree
    oracle image exists "$REGISTRY/os:42"
    bp status --format '{{.Unified.On}}'
    assert "$output" == true
}

@test "pull-from-default-storage: with its digest" {
    podman pull -q "$REGISTRY/os:42"
    bp pull-from-default-storage --plan --format json "$REGISTRY/os:42"
    assert "$(jq -c '[.[] | .name, .method, .destination, .changed]' <<<"$output")" == "[\"$REGISTRY/os:42\",\"clone\",\"bootc\",false]"
    bp pull-from-default-storage --plan "$REGISTRY/os:42"
    assert "$output" =~ "After:   $REGISTRY/os:42 in the bootc-owned store: same image, digest kept; bootc keeps it"
    [ ! -e "$STORE" ] || die "a plan made the store"
    bp pull-from-default-storage "$REGISTRY/os:42"
    assert "$output" == "Copied $REGISTRY/os:42 to bootc storage: same image, digest kept"
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    bp pull-from-default-storage "$REGISTRY/os:42"
    assert "$output" == "" "nothing was done"
    podman tag "$REGISTRY/os:42" localhost/short
    bp --dry-run pull-from-default-storage --method podman short
    assert "$output" =~ "podman image push --remove-signatures -- localhost/short:latest 'containers-storage:\[overlay@/run/bootc/storage\+/proc/self/fd/3\]localhost/short:latest'"
    bp pull-from-default-storage --format json short "$REGISTRY/os:42"
    assert "$(jq -c 'map(.changed)' <<<"$output")" == "[true,false]"
    oracle image exists localhost/short:latest
    # Without its names.
    podman untag "$REGISTRY/os:42"
    bp 1 pull-from-default-storage "os@$DIGEST"
    assert "$stderr" =~ "copy image \"os@$DIGEST\": it has no name with a tag"$'\n'"Hint: give it one in podman's own store: podman tag IMAGE NAME:TAG"
    bp image rm -f --force-in-use "$REGISTRY/os:42"
    local method
    for method in podman clone; do
        bp pull-from-default-storage --method "$method" "$REGISTRY/os:4$method@$DIGEST"
        assert "$(digest_of "$REGISTRY/os:4$method")" == "$DIGEST"
    done
    bp 1 pull-from-default-storage localhost/absent
    bp 2 pull-from-default-storage
}

@test "transfer: a damaged repository is named, and nothing changes" {
    local object
    object=$(os_ostree ls -C "$COMMIT" /usr/lib/blob | awk '{ print $5 }')
    object=$REPO/objects/${object:0:2}/${object:2}.file
    cp -a "$object" object
    chmod u+w "$object"
    printf x | dd of="$object" conv=notrunc status=none
    bp 1 set-unified --from ostree
    assert "$stderr" =~ "$(basename "$object")|${object##*/objects/}"
    rm "$object"
    bp 1 set-unified --from ostree
    assert "$stderr" =~ "no such file"
    bp image ls -q || true
    assert "$output" == ""
    mv object "$object"
    local layer
    layer=$(os_ostree refs --list ostree/container/blob | head -1)
    local commit
    commit=$(os_ostree rev-parse "$layer")
    os_ostree refs --delete "$layer"
    bp 1 set-unified --from ostree
    assert "$stderr" =~ "${layer##*_3A_}"
    os_ostree refs --create "$layer" "$commit"
    bp set-unified --from ostree
}

# bats test_tags=oldest-and-newest
@test "transfer: killed at any moment, a rerun completes" {
    local methods=(clone podman) i
    for i in {1..40}; do
        "$BOOTC_PODMAN" set-unified --from ostree --method "${methods[i % 2]}" >out 2>&1 3>&- &
        local pid=$!
        pause "0.$(printf %03d $((RANDOM % 700)))"
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" || true
        if [ -e "$STORE" ]; then bp image ls; fi
    done
    bp set-unified --from ostree
    assert "$(ls -d /run/bootc-podman/export 2>/dev/null)" == ""
    bp set-unified
    assert "$output" =~ "already in bootc storage"
    assert "$(mount_table | grep -c /run/bootc)" == 0
}

@test "transfer: a full filesystem" {
    bp init
    head -c "$(($(df --output=avail -B1 /sysroot | tail -1) - 2000000))" /dev/zero >/sysroot/filler
    bp 1 set-unified --from ostree --method podman
    assert "$stderr" =~ "Error: export $REGISTRY/os:42 to the bootc-owned store: not enough free space: 30[0-9]{5} bytes are needed on /sysroot, for the bootc-owned store, and [0-9]+ are free"$'\n'"Hint: .*--force"
    bp 1 set-unified --from ostree --method podman --force
    assert "$stderr" =~ "no space left"
    # Extents that are shared need no room.
    bp set-unified --from ostree --method clone
    bp unset-unified
    rm /sysroot/filler
    bp image ls -q
    assert "$output" == ""
    bp set-unified --from ostree --method podman
}

# leave BYTES - leave so much free on /sysroot.
leave() {
    rm -f /sysroot/filler
    sync -f /sysroot
    head -c "$(($(df --output=avail -B1 /sysroot | tail -1) - $1))" /dev/zero >/sysroot/filler
    # Its own metadata took some.
    sync -f /sysroot
    local more=$(($1 - $(df --output=avail -B1 /sysroot | tail -1)))
    [ "$more" -le 0 ] || truncate -s "-$more" /sysroot/filler
    sync -f /sysroot
}

@test "transfer: space is that of all that is on a filesystem" {
    bp init
    mkdir -p /sysroot/spool
    leave 5000000
    local -x TMPDIR=/sysroot/spool
    bp 1 set-unified --from registry
    assert "$stderr" =~ "Error: bring $REGISTRY/os:42 into the bootc-owned store: not enough free space: 6[0-9]{6} bytes are needed on /sysroot, for the bootc-owned store and podman's temporary files in \"/sysroot/spool\" \(TMPDIR\), and [0-9]+ are free"
    bp 1 set-unified --from ostree --method podman
    assert "$stderr" =~ "6[0-9]{6} bytes are needed on /sysroot"
    unset TMPDIR
    bp set-unified --from registry
}

@test "transfer: space for copies between the stores" {
    share_disk
    podman pull -q "$REGISTRY/os:42"
    podman tag "$REGISTRY/os:42" localhost/mine
    bp init
    leave 2000000
    bp 1 pull-from-default-storage --quiet --method podman localhost/mine
    assert "$stderr" =~ "to the bootc-owned store: not enough free space: 30[0-9]{5} bytes are needed on /sysroot, for the bootc-owned store, and [0-9]+ are free"$'\n'"Hint: .*--force"
    bp '?' pull-from-default-storage --quiet --method podman --force localhost/mine
    assert "$status" == 1
    assert "$stderr" =~ "no space left"
    bp pull-from-default-storage --quiet --method clone localhost/mine
    podman rmi -af >/dev/null
    bp set-unified --quiet
    leave 2000000
    local from
    for from in bootc registry ostree; do
        bp 1 copy-to-storage --quiet --method podman --from "$from"
        assert "$stderr" =~ "to podman's own store: not enough free space: 30[0-9]{5} bytes are needed on /var/lib/containers, for podman's own store, and [0-9]+ are free"
        assert "$(podman images -aq)" == ""
    done
    bp copy-to-storage --quiet --method clone --from bootc
    # Layers that are there need no room.
    bp copy-to-storage --quiet --method podman --from registry --target localhost/pulled
    rm -rf /sysroot/filler
}

# conf FILE [VALUE] - a containers.conf with an image_copy_tmp_dir, or none.
conf() {
    mkdir -p "$(dirname "$1")"
    printf '[engine]\n' >"$1"
    [ $# = 1 ] || printf 'image_copy_tmp_dir = "%s"\n' "$2" >>"$1"
}

@test "transfer: temporary files are where podman would put them" {
    local etc=/etc/containers/containers.conf d=/etc/containers/containers.conf.d vendor=/usr/share/containers/containers.conf.d
    local row want env dirs=(/srv/tmp{1..4})
    mkdir -p "${dirs[@]}"
    cat >recorder <<EOF
#!/bin/sh
case " \$* " in *" pull "*) echo "\${TMPDIR%/*}" >$PWD/where; exit 1 ;; esac
exec /usr/bin/podman "\$@"
EOF
    chmod +x recorder
    cp -a /etc/containers containers.before
    conf /srv/conf /srv/tmp3
    conf /srv/override /srv/tmp4
    for row in '|' \
        'TMPDIR=/srv/tmp1|' \
        'TMPDIR=|conf $etc /srv/tmp2' \
        'TMPDIR=/srv/tmp1|conf $etc /srv/tmp2' \
        '|conf $etc /srv/tmp2' \
        '|conf $etc /srv/tmp2; conf $d/10.conf; conf $d/20.conf /srv/tmp3' \
        '|conf $etc /srv/tmp2; conf $d/10.conf ""' \
        '|conf $vendor/10.conf /srv/tmp2' \
        '|conf $vendor/10.conf /srv/tmp2; conf $d/10.conf /srv/tmp3' \
        '|conf /srv/d/10.conf /srv/tmp2; ln -s /srv/d $d' \
        'CONTAINERS_CONF=/srv/conf|conf $etc /srv/tmp2' \
        'CONTAINERS_CONF_OVERRIDE=/srv/override|conf $etc /srv/tmp2' \
        'CONTAINERS_CONF=/srv/conf CONTAINERS_CONF_OVERRIDE=/srv/override|' \
        '|conf $etc storage' \
        '|conf $etc storage; printf "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/elsewhere\"\ngraphroot = \"/var/lib/containers/elsewhere\"\n" >/etc/containers/storage.conf'; do
        rm -rf where "$d" "$vendor" /etc/containers/storage.conf
        conf "$etc"
        read -ra env <<<"${row%%|*}"
        eval "${row#*|}"
        want=$(env "${env[@]}" podman info --format '{{.Store.ImageCopyTmpDir}}')
        (
            [ ${#env[@]} = 0 ] || export "${env[@]}"
            BOOTC_PODMAN_PODMAN=$PWD/recorder bp 1 set-unified --quiet --from registry
        )
        assert "$(cat where)" == "${want:-/var/tmp}" "$row"
    done
    rm -rf "$d" "$vendor" /etc/containers/storage.conf
    # Where there is no room, and where a run was killed.
    truncate -s 16M /tmp/small.img
    mkfs.ext4 -q /tmp/small.img
    mount -o loop /tmp/small.img /srv/tmp2
    conf "$etc" /srv/tmp2
    head -c "$(($(df --output=avail -B1 /srv/tmp2 | tail -1) - 2000000))" /dev/zero >/srv/tmp2/filler
    bp 1 set-unified --from registry
    assert "$stderr" =~ "30[0-9]{5} bytes are needed on /srv/tmp2, for podman's temporary files in \"/srv/tmp2\" \(image_copy_tmp_dir in containers.conf\), and [0-9]+ are free"
    assert "${stderr##*$'\n'}" == "Hint: make room on /srv/tmp2, or try without this check with --force"
    TMPDIR=/missing bp 1 set-unified --from registry --force
    assert "$stderr" =~ "make directory for layers in \"/missing\" \(TMPDIR\): stat /missing"
    bp 1 set-unified --from ostree --method podman
    assert "$stderr" =~ "30[0-9]{5} bytes are needed on /srv/tmp2"
    rm /srv/tmp2/filler
    mkdir -p /srv/tmp2/bootc-podman-spool-left/storage1
    bp set-unified --quiet --from registry
    assert "$(ls /srv/tmp2)" == lost+found
    umount /srv/tmp2
    rm -rf /etc/containers
    mv containers.before /etc/containers
}

@test "transfer: space for layers of another filesystem, which a clone copies" {
    share_disk
    local other=/srv/other conf=/etc/containers/storage.conf
    truncate -s 64M /tmp/other.img
    mkfs.ext4 -q /tmp/other.img
    mkdir -p $other
    mount -o loop /tmp/other.img $other
    podman --root $other/root --runroot /run/other pull -q "$REGISTRY/os:42"
    umount -q $other/root/overlay || true
    printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >$conf
    printf '[storage.options]\nadditionalimagestores = ["%s"]\n' $other/root >>$conf
    head -c 1000000 /dev/urandom >own
    printf 'FROM %s/os:42\nCOPY own /own\n' "$REGISTRY" | podman build -q -t localhost/mine -f - .
    bp init
    leave 2000000
    bp 1 pull-from-default-storage --quiet --method clone localhost/mine
    # Those of os:42, without the one of the same filesystem, which shares extents.
    assert "$stderr" =~ "to the bootc-owned store: not enough free space: 30[0-9]{5} bytes are needed on /sysroot, for the bootc-owned store, and [0-9]+ are free"
    leave 6000000
    bp pull-from-default-storage --quiet --method clone localhost/mine
    rm -f /sysroot/filler $conf
    umount -l $other
    bp exec -- bash -c 'dir=$(podman image mount "$1") && cmp own "$dir/own" && cmp /srv/tree/usr/lib/blob "$dir/usr/lib/blob"' bash localhost/mine
}

@test "transfer: layers that are there need no space" {
    scratch_podman push -q "$REGISTRY/os:43"
    bp image pull -q "$REGISTRY/os:43"
    leave 2000000
    bp set-unified --plan --format json
    [ "$(jq .bytes_to_fetch <<<"$output")" -lt 10000 ]
    bp set-unified --from registry
}

@test "transfer: copies by podman report how far they are" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --from default --method podman --quiet --progress-fd 7 7> >(cat >"$BATS_TEST_TMPDIR/json" && touch "$BATS_TEST_TMPDIR/end")
    wait_for test -e end
    jq -s '[.[] | select(.task == "copying")]' json >copying
    assert "$(jq 'last | .bytes == .bytesTotal' copying)" == true
    [ "$(jq 'last.bytesTotal' copying)" -gt 3000000 ]
}

@test "transfer: progress as JSON lines" {
    bp set-unified --from ostree --quiet --progress-fd 7 7> >(cat >"$BATS_TEST_TMPDIR/json" && touch "$BATS_TEST_TMPDIR/end")
    assert "$stderr" == ""
    wait_for test -e end
    assert "$(jq -r .type json | sort | uniq -c | awk '{ print $2 }' | paste -sd ' ')" == "ProgressBytes ProgressSteps Start"
    assert "$(head -1 json)" == '{"type":"Start","version":"0.1.0"}'
    # The members that bootc's schema requires, in canonical JSON.
    local bytes='["bytes","bytesCached","bytesTotal","description","id","steps","stepsCached","stepsTotal","subtasks","task","type"]'
    assert "$(jq -c 'select(.type == "ProgressBytes") | keys' json | sort -u)" == "$bytes"
    assert "$(jq -r 'select(.task == "unifying") | .subtasks[] | select(.completed) | .id' json | sort -u | paste -sd ' ')" == "clone verify"
    assert "$(jq -c . json | jq -cS . | cmp - json && echo same)" == same
    bp 2 set-unified --progress-fd 1
    bp 2 set-unified --progress-fd 9
}

@test "transfer: one at a time" {
    mkdir -p /run/bootc-podman
    exec 8>/run/bootc-podman/transfer.lock
    flock 8
    bp 1 set-unified --no-wait
    assert "$stderr" =~ "another transfer is at work"
    "$BOOTC_PODMAN" set-unified 2>err >out 3>&- 8>&- &
    local pid=$!
    wait_for grep -q Waiting err
    exec 8>&-
    wait "$pid"
    grep -q enabled out
}

# lose_layer NAME STORE [PODMAN] - lose the directory of the top layer of an image, and print
# its ID.
lose_layer() {
    local id
    id=$("${3:-podman}" image inspect --format '{{.Id}}' "$1")
    rm -r "$2/overlay/$(jq -r --arg id "$id" '.[] | select(.id == $id) | .layer' "$2/overlay-images/images.json")"
    echo "$id"
}

@test "set-unified: an image that is damaged is brought again" {
    local from id
    for from in registry ostree default; do
        bp set-unified --quiet
        podman pull -q "$REGISTRY/os:42"
        id=$(lose_layer "$REGISTRY/os:42" "$STORE" oracle)
        # skopeo would find it before the export, which has another digest.
        [ "$from" != ostree ] || podman rmi -f "$REGISTRY/os:42" >/dev/null
        bp set-unified --plan --from "$from"
        assert "$output" =~ "Step 1:  remove image ${id:0:12} from the bootc-owned store, which is damaged: directory of layer"
        bp set-unified --quiet --from "$from"
        assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
        assert "$stderr" =~ "Warning: image ${id:0:12}, $REGISTRY/os:42, of the bootc-owned store: damaged and not used: "
        bp exec -- bash -c '[ -e "$(podman image mount "$1")/usr/lib/new" ]' bash "$REGISTRY/os:42"
        bp set-unified
        assert "$output" =~ "already in bootc storage"
        assert "$stderr" == ""
    done
    # Where its record is gone.
    jq -c '.[:-1]' "$STORE/overlay-layers/layers.json" >layers.json
    cp layers.json "$STORE/overlay-layers/layers.json"
    bp set-unified --quiet
    bp exec -- bash -c '[ -e "$(podman image mount "$1")/usr/lib/new" ]' bash "$REGISTRY/os:42"
}

@test "set-unified: what another damaged image keeps is not taken for good" {
    bp set-unified --quiet
    printf 'FROM %s/os:42\nLABEL more=1\n' "$REGISTRY" | bp image build -q -t localhost/more -
    local id
    id=$(lose_layer "$REGISTRY/os:42" "$STORE" oracle)
    bp 1 set-unified --quiet
    assert "$stderr" =~ "Warning: image [0-9a-f]{12}, localhost/more:latest, of the bootc-owned store: damaged and not used: "
    assert "$stderr" =~ "Error: bring $REGISTRY/os:42 into the bootc-owned store: directory of layer ".*" is missing there, and the image localhost/more:latest has the layer"
    oracle image exists "$REGISTRY/os:42"
    bp image rm localhost/more
    bp set-unified --quiet
}

# damage PART STORE PODMAN NAME - remove a part of the lowest layer of an image, or give
# the topmost other parents.
damage() {
    local dir=$2/overlay id image top
    id=$("$3" image inspect --format '{{.Id}}' "$4")
    image=$id
    id=$(jq -r --arg id "$id" '.[] | select(.id == $id) | .layer' "$2/overlay-images/images.json")
    top=$id
    while [ "$(jq -r --arg id "$id" '.[] | select(.id == $id) | .parent // ""' "$2/overlay-layers/layers.json")" != "" ]; do
        id=$(jq -r --arg id "$id" '.[] | select(.id == $id) | .parent' "$2/overlay-layers/layers.json")
    done
    umount -q "$dir" || true
    case $1 in
    directory) rm -r "${dir:?}/$id" ;;
    diff) rm -r "$dir/$id/diff" ;;
    link) rm "$dir/l/$(cat "$dir/$id/link")" "$dir/$id/link" ;;
    tar-split) rm "$2/overlay-layers/$id.tar-split.gz" ;;
    # What a power failure leaves.
    diff-file) rm -r "$dir/$id/diff" && touch "$dir/$id/diff" ;;
    tar-split-empty) : >"$2/overlay-layers/$id.tar-split.gz" ;;
    # The second is of newer storage libraries, which prefer it.
    lower)
        echo -n "l/$(cat "$dir/$top/link")" >"$dir/$top/lower"
        [ ! -e "$dir/$top/lower-layers" ] || echo -n "$top" >"$dir/$top/lower-layers"
        ;;
    parent)
        jq -c --arg id "$top" 'map(if .id == $id then del(.parent) else . end)' "$2/overlay-layers/layers.json" >layers.json
        cat layers.json >"$2/overlay-layers/layers.json"
        ;;
    configuration) : >"$2/overlay-images/$image/=$(printf 'sha256:%s' "$image" | base64 -w0)" ;;
    esac
    LAYER=$id
}

# whole PODMAN NAME - podman can mount the image, and its layers are those of its
# configuration.
whole() {
    rm -rf pushed
    if [ "$1" = oracle ]; then
        bp exec -- bash -c 'dir=$(podman image mount "$1") && ls "$dir/usr/bin/program" "$dir/usr/lib/new" && podman image umount "$1"' bash "$2" || return 1
    else
        bash -c 'dir=$(podman image mount "$1") && ls "$dir/usr/bin/program" "$dir/usr/lib/new" && podman image umount "$1"' bash "$2" || return 1
    fi
    "$1" push -q "$2" dir:pushed || return 1
    diff <(jq -r '.layers[].digest' pushed/manifest.json) \
        <(jq -r '.rootfs.diff_ids[]' "pushed/$(jq -r '.config.digest | ltrimstr("sha256:")' pushed/manifest.json)")
}

# repaired STORE PODMAN NAME VERB... - for each of $parts of a layer, and both methods, in turn:
# with the part gone, VERB brings the whole image again, or refuses, names the layer, and
# does it when the user has done what the hint says.
repaired() {
    local dir=$1 podman=$2 name=$3 part methods=(podman auto) turn=0
    shift 3
    for part in $parts; do
        turn=$((turn + 1))
        damage "$part" "$dir" "$podman" "$name"
        echo "# $* without the $part"
        bp '?' "$1" --quiet --method "${methods[turn % 2]}" "${@:2}"
        [ "$status" = 0 ] || as_hinted "$1" --quiet --method "${methods[turn % 2]}" "${@:2}"
        whole "$podman" "$name"
    done
}

# as_hinted VERB... - what was refused is done when the commands of the hint, or of the
# warnings before it, were run.
as_hinted() {
    local damaged='Error:.*( of layer .* is (missing|empty)| does not match its parents|destination is damaged: layer |read configuration of image )' command
    assert "$status" == 1
    assert "$stderr" =~ "$damaged"
    grep -o '"[^"]*image rm [^"]*"' <<<"$stderr" | tr -d '"' >commands
    [ -s commands ] || die "no command that removes an image"
    while read -ra command; do
        PATH=$(dirname "$BOOTC_PODMAN"):$PATH "${command[@]}" || true # one may remove what another names
    done <commands
    bp "$@"
}

# bats test_tags=oldest-and-newest
@test "transfer: the booted image comes whole into a store where it is damaged" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --quiet
    local from parts='directory diff link tar-split diff-file tar-split-empty configuration'
    repaired "$STORE" oracle "$REGISTRY/os:42" pull-from-default-storage "$REGISTRY/os:42"
    parts='link diff'
    for from in default registry ostree; do
        repaired "$STORE" oracle "$REGISTRY/os:42" set-unified --from "$from"
    done
    podman rmi -af
    bp copy-to-storage --quiet --target localhost/copy:1
    parts='directory diff link tar-split tar-split-empty configuration'
    for from in bootc registry ostree; do
        repaired /var/lib/containers/storage podman localhost/copy:1 copy-to-storage --target localhost/copy:1 --from "$from"
        parts='tar-split diff'
    done
}

@test "transfer: an image whose layers have other parents comes whole" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --quiet
    local part parts='lower parent' files
    # shellcheck disable=SC2016 # for the inner shell
    local find=(exec -- bash -c 'dir=$(podman image mount "$1") && cd "$dir" && find . -type f | LC_ALL=C sort; cd / && podman image umount "$1" >&2' bash "$REGISTRY/os:42")
    bp "${find[@]}"
    files=$output
    for part in $parts; do
        damage "$part" "$STORE" oracle "$REGISTRY/os:42"
        bp '?' "${find[@]}"
        if [ "$output" = "$files" ] && whole oracle "$REGISTRY/os:42"; then die "podman uses the image with another $part"; fi
        bp set-unified --quiet
        assert "$stderr" =~ "of the bootc-owned store: damaged and not used: list of lower layers of layer "
        whole oracle "$REGISTRY/os:42"
    done
    parts='parent lower'
    repaired "$STORE" oracle "$REGISTRY/os:42" pull-from-default-storage "$REGISTRY/os:42"
}

@test "pull-from-default-storage: --verify full looks at the files of an image that is there" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --quiet
    damage nothing "$STORE" oracle "$REGISTRY/os:42"
    bp pull-from-default-storage --quiet --verify full --format json "$REGISTRY/os:42"
    assert "$(jq -c 'map([.method, .changed])' <<<"$output")" == '[["clone",false]]'
    rm "$(find "$STORE/overlay/$LAYER/diff" -type f -print -quit)"
    bp pull-from-default-storage --quiet "$REGISTRY/os:42"
    bp 1 pull-from-default-storage --quiet --verify full "$REGISTRY/os:42"
    assert "$stderr" =~ "destination is damaged: layer $LAYER of image $REGISTRY/os:42: not verified"
    bp image rm --force-in-use "$REGISTRY/os:42"
    bp pull-from-default-storage --quiet --verify full "$REGISTRY/os:42"
    whole oracle "$REGISTRY/os:42"
}

@test "pull-from-default-storage: a damaged image that is removed is a change, although the copy fails" {
    podman pull -q "$REGISTRY/os:42"
    bp set-unified --quiet
    damage nothing "$STORE" oracle "$REGISTRY/os:42"
    rm -r "$STORE/overlay/$LAYER/diff"
    echo more >>"/var/lib/containers/storage/overlay/$LAYER/diff/usr/lib/new"
    bp 1 pull-from-default-storage --quiet --method clone --format json "$REGISTRY/os:42"
    assert "$(oracle images -q)" == ""
    assert "$(jq -c 'map(.changed)' <<<"$output")" == '[true]'
}

@test "transfer: a damaged layer that other images have is refused, and they are named" {
    local method
    podman pull -q "$REGISTRY/os:42"
    for method in podman auto; do
        bp set-unified --quiet
        printf 'FROM %s/os:42\nLABEL more=1\n' "$REGISTRY" | bp image build -q -t localhost/more -
        oracle tag localhost/more localhost/again
        damage diff "$STORE" oracle "$REGISTRY/os:42"
        oracle images -q | sort >before
        bp 1 pull-from-default-storage --quiet --method "$method" "$REGISTRY/os:42"
        assert "$stderr" =~ "directory of layer \"$LAYER\" is missing there, and the images $REGISTRY/os:42, localhost/"[a-z]*":latest have the layer"
        bp 1 set-unified --quiet --from default --method "$method"
        assert "$stderr" =~ "directory of layer \"$LAYER\" is missing there, and the image localhost/"[a-z]*":latest has the layer"
        oracle images -q | sort | diff before - # nothing was removed
        as_hinted set-unified --quiet --from default --method "$method"
        whole oracle "$REGISTRY/os:42"
        run ! oracle image exists localhost/more
    done
    # The names that the damaged image had come with it again.
    oracle tag "$REGISTRY/os:42" localhost/named:1
    damage diff "$STORE" oracle "$REGISTRY/os:42"
    bp pull-from-default-storage --quiet "$REGISTRY/os:42"
    whole oracle localhost/named:1
}

@test "transfer: other images that are damaged are named, and others are used" {
    podman pull -q "$REGISTRY/os:42"
    bp init
    local podman
    for podman in podman bp; do
        local -a image=()
        [ "$podman" = podman ] || image=(image)
        context other "other $podman"
        "$podman" "${image[@]}" build -q -t localhost/other other
    done
    local dir
    for dir in /var/lib/containers/storage "$STORE"; do
        jq -c '.[:-1]' "$dir/overlay-layers/layers.json" >layers.json
        cp layers.json "$dir/overlay-layers/layers.json"
    done
    bp set-unified --plan
    assert "$stderr" =~ "Warning: image [0-9a-f]{12}, localhost/other:latest, of the bootc-owned store: damaged and not used: layer \"[0-9a-f]{64}\" is missing; \"bootc-podman repair localhost/other:latest\" fixes it"
    assert "$stderr" =~ "Warning: image [0-9a-f]{12}, localhost/other:latest, of podman's own store: damaged and not used: layer \"[0-9a-f]{64}\" is missing; \"podman image rm [0-9a-f]{12}\" fixes it"
    bp set-unified
    bp copy-to-storage
    bp unset-unified
}

@test "transfer: a second run takes nothing and runs nothing" {
    printf '#!/bin/bash\necho "$*" >>%q\nexec podman "$@"\n' "$PWD/ran" >recorder
    chmod 0755 recorder
    local -x BOOTC_PODMAN_PODMAN=$PWD/recorder
    local from
    for from in registry ostree; do
        bp set-unified --quiet --from "$from"
        bp copy-to-storage --quiet --from "$from"
        [ -s ran ]
        rm ran
        : >/srv/registry.log
        bp set-unified
        assert "$output" == "Image $REGISTRY/os:42 is already in bootc storage."
        bp set-unified --from "$from"
        bp copy-to-storage
        bp pull-from-default-storage localhost/bootc
        rm -f ran # what that took
        find "$STORE" /var/lib/containers/storage -printf '%p %i %T@ %s\n' | sort >before
        bp pull-from-default-storage localhost/bootc
        bp pull-from-default-storage --method podman localhost/bootc
        [ ! -e ran ] || die "ran $(cat ran)"
        find "$STORE" /var/lib/containers/storage -printf '%p %i %T@ %s\n' | sort | diff before -
        assert "$(cat /srv/registry.log)" == ""
        bp unset-unified
        podman rmi -af >/dev/null
    done
}

# recorded ARG... - run bootc-podman, and compare the commands that it runs with those
# that it says it would.
recorded() {
    printf '#!/bin/bash\nprintf "%%q " "$@" >>%q\necho >>%q\nexec podman "$@"\n' "$PWD/ran" "$PWD/ran" >recorder
    chmod 0755 recorder
    local -x BOOTC_PODMAN_PODMAN=$PWD/recorder
    local line
    bp --dry-run "$@"
    : >said
    while read -r line; do
        eval "set -- $line"
        while [ $# -gt 0 ] && [ "$1" != "$PWD/recorder" ]; do shift; done
        if [ $# -gt 0 ]; then
            shift
            printf '%q ' "$@"
            echo
        fi
    done < <(grep -v '^#' <<<"$output") >said
    : >ran
}

@test "set-unified: runs what --dry-run says" {
    local from
    for from in registry ostree; do
        new_sysroot
        boot "$REF" "ostree-unverified-registry:$REGISTRY/os:42"
        bp init
        recorded set-unified --from "$from"
        # With progress, podman 6 pulls through its service.
        BOOTC_PODMAN_PODMAN=$PWD/recorder bp set-unified --quiet --from "$from"
        diff said <(grep -v -- --version ran)
    done
    podman pull -q "$REGISTRY/os:42"
    recorded unset-unified
    BOOTC_PODMAN_PODMAN=$PWD/recorder bp unset-unified
    diff said <(grep -v -- --version ran)
    recorded set-unified
    BOOTC_PODMAN_PODMAN=$PWD/recorder bp set-unified --quiet
    diff said <(grep -v -- --version ran)
    recorded copy-to-storage
    BOOTC_PODMAN_PODMAN=$PWD/recorder bp copy-to-storage
    diff said <(grep -v -- --version ran)
}

@test "unset-unified: takes away what was brought, and no more" {
    bp 1 unset-unified
    assert "$stderr" =~ "set-unified brought no image to this host"
    bp set-unified
    bp image tag "$REGISTRY/os:42" localhost/mine
    bp unset-unified
    assert "$output" == "Unified storage disabled for $REGISTRY/os:42."
    oracle image exists localhost/mine
    run ! oracle image exists "$REGISTRY/os:42"
    bp set-unified
    bp image rm localhost/mine
    bp unset-unified
    assert "$(oracle images -aq)" == ""
    bp 1 unset-unified
}

@test "copy-to-storage: keeps the digest where a store of the host has the image" {
    bp set-unified
    bp copy-to-storage --plan --format json
    assert "$(jq -c '[.source, .destination, .method, .exact, .changed, .result_digest]' <<<"$output")" == "[\"bootc\",\"default\",\"clone\",true,false,\"$DIGEST\"]"
    assert "$(podman images -q)" == ""
    bp copy-to-storage --plan
    assert "$output" =~ "After:   localhost/bootc:latest in podman's own store: same image, digest kept"
    bp copy-to-storage
    assert "$output" =~ "Copied docker://$REGISTRY/os:42 from bootc to containers-storage:localhost/bootc: same image, digest kept"$'\n'"Pushed: containers-storage:localhost/bootc $DIGEST"
    assert "$(digest_of localhost/bootc:latest podman)" == "$DIGEST"
    bp copy-to-storage --target localhost/again --format json
    assert "$(jq -c '[.source, .method, .changed, .result_digest]' <<<"$output")" == "[\"default\",\"tag\",true,\"$DIGEST\"]"
    bp copy-to-storage --target localhost/again --format json
    assert "$(jq -c '[.method, .changed]' <<<"$output")" == '["none",false]'
    bp copy-to-storage --target localhost/again
    assert "$output" =~ "^Image docker://$REGISTRY/os:42 is already in containers-storage:localhost/again: same image, digest kept"
    podman rmi -af >/dev/null
    bp copy-to-storage --from registry --target localhost/pulled
    # With the booted name, too, which bootc's skopeo looks for here first.
    assert "$(podman images --format '{{.Repository}}:{{.Tag}}' | sort)" == "$REGISTRY/os:42"$'\n'localhost/pulled:latest
    bp copy-to-storage --from ostree --target localhost/exported
    assert "$output" =~ ": same files, new digest \((ostree|bootc) does not keep the archive\)"
    bp copy-to-storage --from ostree --target localhost/exported --format json
    assert "$(jq -c '[.method, .changed]' <<<"$output")" == '["clone",false]'
    assert "$(oracle images -q | wc -l)" == 1
}

@test "copy-to-storage, set-unified: the layers in another image keep the digest" {
    # An image built on the booted one, which itself is gone.
    podman pull -q "$REGISTRY/os:42"
    printf 'FROM %s\nLABEL built=here\n' "$REGISTRY/os:42" >Containerfile
    podman build -q --layers -t localhost/derived . >/dev/null
    podman rmi "$REGISTRY/os:42" >/dev/null
    bp copy-to-storage --plan --format json
    assert "$(jq -c '[.source, .method, .exact, .bytes_to_write, .steps[0].name]' <<<"$output")" == '["default","clone",true,0,"clone"]'
    bp copy-to-storage
    assert "$output" == "Copied docker://$REGISTRY/os:42 from default to containers-storage:localhost/bootc: same image, digest kept"$'\n'"Pushed: containers-storage:localhost/bootc $DIGEST"
    assert "$(digest_of localhost/bootc:latest podman)" == "$DIGEST"
    [ "$(podman image inspect --format '{{json .RootFS.Layers}}' localhost/bootc)" = "$(jq -c .rootfs.diff_ids "/srv/os42/$(jq -r '.config.digest[7:]' /srv/os42/manifest.json)")" ]
    podman push -q localhost/bootc dir:pushed
    assert "$(jq -cS '[.layers | length]' pushed/manifest.json)" == "$(jq -cS '[.layers | length]' /srv/os42/manifest.json)"
    podman rmi localhost/bootc >/dev/null
    podman image exists localhost/derived
    # Into the bootc-owned store, without the registry.
    kill "$(cat /srv/registry.pid)"
    bp set-unified
    start_registry /srv "$REGISTRY"
    assert "$output" == "Unified storage enabled for $REGISTRY/os:42."
    assert "$stderr" !~ "Note:"
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    oracle push -q "$REGISTRY/os:42" dir:pushed-too
    bp image rm --force-in-use "$REGISTRY/os:42"
    # And from there.
    bp pull-from-default-storage localhost/derived
    podman rmi -af >/dev/null
    bp copy-to-storage
    assert "$output" =~ "from bootc to .*: same image, digest kept"
    assert "$(digest_of localhost/bootc:latest podman)" == "$DIGEST"
}

@test "set-unified: an image of an OCI layout, unless that has another by now" {
    new_sysroot
    rm -rf /srv/layout
    skopeo copy -q dir:/srv/os42 oci:/srv/layout:42
    boot oci_3A__2F_srv/layout_3A_42 ostree-unverified-image:oci:/srv/layout:42
    bp set-unified --plan
    assert "$output" =~ "Source:  transport: "
    assert "$output" =~ "Upgrade: not through the bootc store: bootc looks for oci:/srv/layout:42, not for localhost/bootc:latest"
    bp set-unified --quiet
    # status says no more and no less.
    local said="Image localhost/bootc is in bootc storage. Unified storage is off: bootc looks for oci:/srv/layout:42, which is in no store."
    assert "$output" == "$said"
    bp status --format '{{.Unified.On}} {{.Unified.Reason}}'
    assert "$output" == "false bootc looks for oci:/srv/layout:42, which is in no store"
    assert "$(digest_of localhost/bootc:latest)" == "$DIGEST"
    assert "$(oracle images -q | wc -l)" == 1 "one name, or bootc could not remove it"
    oracle image inspect localhost/bootc >/dev/null
    bp set-unified
    assert "$output" == "$said"
    bp unset-unified
    # The plan promises only what is there: another image, none, or an incomplete one.
    local case
    for case in other none incomplete; do
        rm -rf /srv/layout
        case $case in
        other) scratch_podman push -q "$REGISTRY/os:43" oci:/srv/layout:42 ;;
        incomplete)
            skopeo copy -q dir:/srv/os42 oci:/srv/layout:42
            rm "/srv/layout/blobs/sha256/$(jq -r '.layers[0].digest' /srv/os42/manifest.json | cut -d: -f2)"
            ;;
        esac
        bp set-unified --plan --format json
        assert "$(jq -r '.source, .exact' <<<"$output")" == "$(printf '%s\n' ostree false)" "$case"
        bp 1 set-unified --from transport
        assert "$stderr" =~ "transport: " "$case"
    done
    assert "$stderr" =~ "blobs/sha256/"
    bp set-unified
    assert "$stderr" !~ "trying the next source"
    assert "$output" == "$said"
    bp image inspect localhost/bootc
    assert "$(jq -r '.[0].Annotations["io.bootc-podman.original-digest"]' <<<"$output")" == "$DIGEST"
    assert "$(oracle images -q | wc -l)" == 1
    # What becomes another image between plan and pull is seen by the verification; see
    # TestSetUnifiedGoesOnWhereAnArchiveHasAnotherImage.
}

# A composefs host that has booted the image of the registry, as of version 42, with
# a bootc that exports it as another manifest.
boot_composefs() {
    rm -rf /sysroot/ostree /sysroot/state /run/ostree-booted
    os_boot_composefs "$REGISTRY/os:42" "$DIGEST"
    rm -rf /srv/os42.exported
    cp -r /srv/os42 /srv/os42.exported
    jq '.annotations = {exported: "yes"}' /srv/os42/manifest.json >/srv/os42.exported/manifest.json
    mkdir -p bin
    cat >bin/bootc <<'EOF'
#!/bin/bash
[ "$1 $2" = "image copy-to-storage" ] || exit 1
[[ $4 == docker://*/os:42 ]] || exit 1
[ -e /var/lib/containers/storage/db.sql ] || [ -e /var/lib/containers/storage/libpod/bolt_state.db ] || exit 1
exec skopeo copy -q dir:/srv/os42.exported "containers-storage:$6"
EOF
    chmod 0755 bin/bootc
}

@test "set-unified: a composefs host, from the registry or by bootc" {
    boot_composefs
    local -x PATH=$PWD/bin:$PATH
    bp set-unified --quiet
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    bp unset-unified
    assert "$output" == "Unified storage disabled for $REGISTRY/os:42."
    assert "$(oracle images -q)" == ""
    bp set-unified --plan --from composefs
    assert "$output" =~ "Write:   not known: bootc does not report"
    rm -rf /var/lib/containers/storage # podman makes it before bootc writes there
    bp set-unified --quiet --from composefs
    oracle image inspect "$REGISTRY/os:42" >/dev/null
    assert "$(podman images -q)" == "" "podman's own store is as before"
    bp set-unified
    assert "$output" =~ "already in bootc storage"
    bp copy-to-storage --from composefs
    assert "$output" =~ ": same files, new digest \((ostree|bootc) does not keep the archive\)"
    podman image exists localhost/bootc
    rm bin/bootc
    bp unset-unified
    bp 1 set-unified --from composefs --plan
    assert "$stderr" =~ 'composefs: run "bootc"'
}

# share_disk - podman's own store on the filesystem of the other, as on hosts.
share_disk() {
    rm -rf /sysroot/containers
    mkdir -p /sysroot/containers
    mount --bind /sysroot/containers /var/lib/containers
    touch "$BATS_TEST_TMPDIR/shared"
}

teardown() { [ ! -e "$BATS_TEST_TMPDIR/shared" ] || umount -l /var/lib/containers; }

@test "transfer: images are cloned where both stores share a filesystem" {
    share_disk
    podman pull -q "$REGISTRY/os:42"
    local before
    before=$(used)
    bp set-unified --plan
    assert "$output" =~ "Method:  clone: both stores have overlay layers"
    bp init
    BOOTC_PODMAN_PODMAN=/bin/false bp set-unified --method clone --verify full
    [ $(($(used) - before)) -lt 1000000 ] || die "$(used) bytes, $before before"
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    podman rmi -af >/dev/null
    bp copy-to-storage --quiet
    assert "$output" =~ ": same image, digest kept"
    # The second one is for bootc's skopeo.
    assert "$(podman images --format '{{.Repository}}:{{.Tag}}' | sort)" == "$(printf '%s\n' "$REGISTRY/os:42" localhost/bootc:latest | sort)"
    podman image mount localhost/bootc >mounted
    [ -x "$(cat mounted)/usr/bin/program" ]
    podman image unmount localhost/bootc
    bp unset-unified
    bp pull-from-default-storage --quiet --method podman localhost/bootc
    oracle image exists localhost/bootc
    bp 2 set-unified --method copy
    bp 2 pull-from-default-storage --verify some localhost/bootc
}

# fetched - the bytes of blobs that the registry has served since its log was empty.
fetched() { sed -n 's|.*"GET /v2/os/blobs/[^"]*" 200 \([0-9]*\) .*|\1|p' /srv/registry.log | awk '{ n += $1 } END { print n + 0 }'; }

# size_of INDEX - the bytes of a layer of the booted image, and of its configuration.
size_of() { jq ".layers[$1].size + .config.size" /srv/os42/manifest.json; }

@test "set-unified: layers that podman's own store has are not fetched" {
    share_disk
    # Another image upon the same first layer, with layers that the booted one does not have.
    scratch_podman push -q "$REGISTRY/os:43"
    podman pull -q "$REGISTRY/os:43"
    : >/srv/registry.log
    bp set-unified --plan --format json
    assert "$(jq -c '[.steps[].name]' <<<"$output")" == '["lend","pull","return","tag","untag","verify"]'
    assert "$(jq .bytes_to_fetch <<<"$output")" == "$(jq '.layers[1].size' /srv/os42/manifest.json)"
    bp set-unified --quiet
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    assert "$(oracle images -aq | wc -l)" == 1 "the lent image is gone"
    assert "$(jq length "$STORE/overlay-layers/layers.json")" == 2 "with no layer more"
    assert "$(fetched)" == "$(size_of 1)"
    # And the other way round.
    podman rmi -af >/dev/null
    new_sysroot
    boot "$REF" "ostree-unverified-registry:$REGISTRY/os:42"
    podman images -q
    bp image pull -q "$REGISTRY/os:43"
    : >/srv/registry.log
    bp copy-to-storage --from registry
    assert "$output" =~ ": same image, digest kept"
    assert "$(podman images -aq | wc -l)" == 1
    assert "$(fetched)" == "$(size_of 1)"
}

@test "set-unified: layers that podman's own store has of other blobs are not fetched" {
    # The same archives, never compressed, and no filesystem that shares.
    scratch_podman save -q "$REGISTRY/os:43" | podman load -q
    : >/srv/registry.log
    bp set-unified --quiet
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    assert "$(fetched)" == "$(size_of 1)"
    oracle image rm "$REGISTRY/os:42"
    assert "$(oracle images -aq)" == ""
}

@test "copy-to-storage: an image that another copy of itself lends layers to stays" {
    share_disk
    # The same configuration and layers in another manifest.
    mkdir other
    cp /srv/os42/* other
    jq -c '.annotations = {"more": "1"}' /srv/os42/manifest.json >other/manifest.json
    skopeo copy -q --dest-tls-verify=false dir:other "docker://$REGISTRY/os:other"
    podman images -q
    bp image pull -q "$REGISTRY/os:other"
    bp copy-to-storage --from registry
    assert "$(podman images --format '{{.Repository}}:{{.Tag}}')" == localhost/bootc:latest
}

@test "copy-to-storage: what cannot be lent is fetched" {
    share_disk
    scratch_podman push -q "$REGISTRY/os:43"
    bp image pull -q "$REGISTRY/os:43"
    # A layer of which the files are not those of its archive.
    local layer
    layer=$(jq -r '.[] | select(.parent == null) | .id' "$STORE/overlay-layers/layers.json")
    rm "$STORE/overlay/$layer/diff/usr/lib/removed"
    bp copy-to-storage --from registry
    assert "$stderr" =~ "Note: podman fetches layers that the other store has: "
    assert "$(podman images --format '{{.Repository}}:{{.Tag}}')" == localhost/bootc:latest
}

@test "set-unified, pull-from-default-storage: what another process does to podman's own store meanwhile counts" {
    # podman as it is, but for another process that pulls the image without its name.
    cat >podman <<EOF
#!/bin/sh
case " \$* " in *" image pull "*) /usr/bin/podman pull -q "$REGISTRY/os@$DIGEST" >&2 ;; esac
exec /usr/bin/podman "\$@"
EOF
    chmod +x podman
    BOOTC_PODMAN_PODMAN=$PWD/podman bp set-unified --quiet --from registry
    podman image exists "$REGISTRY/os:42"
    # One that takes the name away from the image that is copied.
    oracle rmi -af
    cat >podman <<EOF
#!/bin/sh
/usr/bin/podman "\$@" || exit
case " \$* " in *" image push "*) /usr/bin/podman untag "$REGISTRY/os:42" >&2 ;; esac
EOF
    podman tag "$REGISTRY/os@$DIGEST" localhost/os
    BOOTC_PODMAN_PODMAN=$PWD/podman bp pull-from-default-storage --quiet --method podman "$REGISTRY/os:42"
    podman image exists "$REGISTRY/os:42"
}

@test "set-unified: an image is brought again whose pull was killed before its manifest" {
    local images=$STORE/overlay-images id
    bp set-unified --quiet
    id=$(jq -r '.[].id' "$images/images.json")
    rm -r "${images:?}/$id"
    jq -c 'map(.["big-data-names"] = [] | .["big-data-sizes"] = {} | .["big-data-digests"] = {})' "$images/images.json" >images.json
    cp images.json "$images/images.json"
    bp set-unified --quiet
    assert "$(digest_of "$REGISTRY/os:42")" == "$DIGEST"
    assert "$(oracle images -aq --no-trunc)" == "sha256:$id"
}

@test "transfer: layers lent to a pull that was killed are removed" {
    share_disk
    scratch_podman push -q "$REGISTRY/os:43"
    podman pull -q "$REGISTRY/os:43"
    # podman as it is, but for one command that kills who gave it.
    cat >podman <<'EOF'
#!/bin/sh
case " $* " in *" image pull "*) kill -KILL "$PPID"; exit 1 ;; esac
exec /usr/bin/podman "$@"
EOF
    chmod +x podman
    BOOTC_PODMAN_PODMAN=$PWD/podman bp 137 set-unified --quiet
    assert "$(oracle images -aq | wc -l)" == 1 "it was lent"
    podman rmi -af >/dev/null
    bp set-unified --quiet
    assert "$(oracle images -aq | wc -l)" == 1
    bp unset-unified
    assert "$(oracle images -aq)" == ""
    # And the other way round.
    bp image pull -q "$REGISTRY/os:43"
    BOOTC_PODMAN_PODMAN=$PWD/podman bp 137 copy-to-storage --quiet --from registry
    assert "$(podman images -aq | wc -l)" == 1
    bp copy-to-storage --quiet --from ostree
    assert "$(podman images --all --format '{{.Repository}}:{{.Tag}}')" == localhost/bootc:latest
}

@test "transfer: a clone out of the repository where files share nothing" {
    umount /sysroot
    mount_sysroot ext4
    new_sysroot
    boot "$REF" "ostree-unverified-registry:$REGISTRY/os:42"
    bp init
    leave 1000000
    bp set-unified --plan --from ostree --format json
    [ "$(jq .bytes_to_write <<<"$output")" -gt 3000000 ]
    bp 1 set-unified --from ostree
    assert "$stderr" =~ "Error: bring $REGISTRY/os:42 into the bootc-owned store: not enough free space: 30[0-9]{5} bytes are needed on /sysroot, for the bootc-owned store, and [0-9]+ are free"
    # There is what is reserved for root.
    bp set-unified --quiet --from ostree --force
    bp unset-unified
    dd if=/dev/zero of=/sysroot/filler.root bs=64k 2>/dev/null || true
    bp 1 set-unified --quiet --from ostree --force
    assert "$stderr" =~ "no space left on device"$'\n'"Hint: make room on /sysroot$"
    umount /sysroot
    mount_sysroot xfs
}
