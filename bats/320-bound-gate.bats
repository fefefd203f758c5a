#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# The hook bound-gate: containers that run only as what is bound to the booted
# deployment; and the identity of the host.

# shellcheck disable=SC2030,SC2031 # each test is a process of its own

load helpers
load containers
load os-images

setup_file() {
    container_conf
    ostree_host
    cd /srv || return 1
    os_tree tree 42
    os_bind tree localhost/app:1 app.container
    os_bind tree localhost/missing:1 missing.container
    local commit
    commit=$(os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_42 42 tree)
    os_boot "$(os_deploy "$commit" ostree-unverified-registry:quay.io/os:42)"
    shell_context /srv/app 'the bound one'
    mkdir /srv/app/root/etc
    echo 'root:x:0:0:root:/root:/bin/sh' >/srv/app/root/etc/passwd
    echo 'root:x:0:' >/srv/app/root/etc/group
    bp image build -q -t localhost/app:1 /srv/app
    shell_context /srv/unbound 'not bound'
    bp image build -q -t localhost/unbound:1 /srv/unbound
    shell_context /srv/other 'something else'
}

teardown_file() {
    rm -f /etc/containers/containers.conf
    umount -q /proc/cmdline || true
    umount /sysroot
}

setup() { install_hooks; }

RUN_DIRS="containers libpod runc crun crio lock netns podman"

teardown() {
    umount -q /run/bootc-podman || true
    if [ -e /srv/run ]; then
        local dir
        mount -o remount,bind,rw /run
        for dir in $RUN_DIRS; do
            umount -q "/run/$dir" || true
        done
        rm -rf /run/fill /srv/run
    fi
    with_bound rm -fa -t 0 >/dev/null
    podman rmi -fa >/dev/null
    bp hooks uninstall
    rm -f /run/bootc-podman/gate-off /etc/bootc-podman/bound.lock /srv/app.tar
}

# with_bound ARG... - podman on its own store, with the bootc-owned one beside it.
with_bound() { podman --storage-opt "additionalimagestore=$STORE" "$@"; }

# start IMAGE [VALUE] - run a container that asks for the gate, from podman's own
# store with the bootc-owned one beside it, as a quadlet of a bound image does.
start() {
    run with_bound run --name app --network none \
        --annotation "io.bootc-podman.require=${2-bound}" "$1" cat /text
    echo "$output"
    [ "$status" = 0 ] || cat /run/bootc-podman/denied/* || true
}

# refused PATTERN - the container was not started, and the reason is in the journal.
refused() {
    assert "$status" != 0 "started"
    local id file
    id=$(with_bound container inspect --format '{{.Id}}' app)
    file=/run/bootc-podman/denied/$id.json
    assert "$(jq -r .reason "$file")" =~ "$1"
    assert "$(jq -r .hook,.name "$file" | xargs)" == "bound-gate app"
    bp hooks denied
    assert "${lines[1]}" =~ "ago +${id:0:12} +app +bound-gate +"
    bp hooks denied --format json
    assert "$(jq -c '.[0]' <<<"$output")" == "$(jq -c . "$file")"
}

@test "bound-gate: the bound image starts" {
    start localhost/app:1
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    # So it does with podman's own options left as they are.
    run "$BOOTC_PODMAN" run --name app --network none --annotation io.bootc-podman.require=bound localhost/app:1 cat /text
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    # Others are not asked.
    run -0 with_bound run --network none localhost/unbound:1 cat /text
    assert "$output" == "not bound"
}

@test "bound-gate: an image that is not bound does not start" {
    start localhost/unbound:1
    refused 'image localhost/unbound:1, [0-9a-f]{12}, is not bound to the booted deployment'
}

@test "bound-gate: a value that is misspelt opens nothing" {
    start localhost/app:1 Bound
    refused 'annotation io.bootc-podman.require is "Bound"'
}

@test "bound-gate: an image of the same name in podman's own store shadows" {
    podman build -q -t localhost/app:1 /srv/other >/dev/null
    start localhost/app:1
    refused 'image localhost/app:1 is shadowed: /var/lib/containers/storage has another of its name'
    with_bound rm -f app
    with_bound rmi localhost/app:1
    # A copy of the same one lies where others may write.
    bp image save -o /srv/app.tar localhost/app:1
    podman load -q -i /srv/app.tar
    start localhost/app:1
    refused 'is shadowed'
}

# changed DIR - put other bits into the layer of a store in DIR that has the text.
changed() {
    local file
    for file in "$1"/overlay/*/diff/text; do
        if grep -q 'the bound one' "$file"; then echo tampered >"$file"; fi
    done
}

@test "bound-gate: a layer of podman's own store is not the bound image's" {
    # The storage library takes a layer from the first store that has one of its ID.
    bp image save -o /srv/app.tar localhost/app:1
    podman load -q -i /srv/app.tar
    printf 'FROM localhost/app:1\nLABEL keeps=layers\n' >/srv/Containerfile
    podman build -q -t localhost/keeps -f /srv/Containerfile /srv >/dev/null
    podman rmi -f localhost/app:1
    changed /var/lib/containers/storage
    run -0 with_bound run --rm --network none localhost/app:1 cat /text
    assert "$output" == tampered "podman runs other bits"
    start localhost/app:1
    refused 'is not what runs: its files are in /var/lib/containers/storage/overlay/'
}

o2=(--root /var/lib/containers/o2 --runroot /run/o2)
app=(run --rm --network none --annotation io.bootc-podman.require=bound localhost/app:1 cat /text)

# no_start PATTERN OPTION... - a podman of a further graph root does not start it.
no_start() {
    rm -rf /run/bootc-podman/denied
    run podman "${o2[@]}" "${@:2}" "${app[@]}"
    assert "$status" != 0 "starts with ${*:2}"
    assert "$(jq -r .reason /run/bootc-podman/denied/*)" =~ "$1"
}

@test "bound-gate: further stores shadow, too" {
    mkdir /var/lib/containers/further
    bp image save -o /srv/app.tar localhost/app:1
    podman --root /var/lib/containers/further --runroot /run/further load -q -i /srv/app.tar
    changed /var/lib/containers/further
    podman load -q -i /srv/app.tar
    changed /var/lib/containers/storage
    # A further store that comes first; one that is alone; podman's own as a further one.
    no_start '/var/lib/containers/further' --storage-opt "additionalimagestore=/var/lib/containers/further,$STORE"
    no_start '/var/lib/containers/further' --storage-opt additionalimagestore=/var/lib/containers/further
    no_start '/var/lib/containers/storage' --storage-opt additionalimagestore=/var/lib/containers/storage
    # Where podman does not look, nothing shadows.
    run -0 podman "${o2[@]}" --storage-opt "additionalimagestore=$STORE" "${app[@]}"
    assert "$output" == "the bound one"
    rm -rf /run/o2 /run/further
}

# bats test_tags=oldest-and-newest
@test "bound-gate: an image of a hundred layers starts" {
    podman_at_least 5 || skip "podman cannot mount so many of another store"
    cp -a /srv/app /srv/many
    touch /srv/many/f
    for i in {1..100}; do echo "COPY f /f$i"; done >>/srv/many/Containerfile
    bp image tag localhost/app:1 localhost/kept:1
    timeout 300 "$BOOTC_PODMAN" image build -q --layers -t localhost/app:1 /srv/many
    start localhost/app:1
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    bp image tag --force-in-use localhost/kept:1 localhost/app:1
    bp image untag localhost/kept:1 localhost/kept:1
}

@test "bound-gate: a container in a user namespace of its own is refused" {
    # Its files are copies, or mounts that are gone before anybody can look at them.
    run with_bound run --name app --network none --uidmap 0:100000:65536 --annotation io.bootc-podman.require=bound localhost/app:1 true
    assert "$status" != 0 "starts"
    assert "$(cat /run/bootc-podman/denied/"$(with_bound container inspect --format '{{.Id}}' app)".json)" =~ 'user namespace of its own'
}

# gated ARG... - podman with a container that asks for the gate.
gated() { with_bound "$1" --network none --annotation io.bootc-podman.require=bound "${@:2}"; }

@test "bound-gate: files in the container's own layer are refused" {
    # Files that podman and the runtime put there for a new container do not count.
    local options
    while read -r options; do
        # shellcheck disable=SC2086 # options and values
        run -0 gated run --rm $options localhost/app:1 cat /text
        assert "$output" == "the bound one" "$options"
    done <<'END'
--user 1234:5678 --group-add 99 --env HOME=/h --workdir /tmp
--read-only --tmpfs /t -v volume:/v1 -v /srv:/v2:ro -v volume:/bin/v3 --tz local
--hostname h --add-host a:1.2.3.4 --mount type=bind,src=/srv,dst=/etc/below --hostuser daemon --cidfile /srv/cid
END
    if podman --runtime crun run --rm --network none localhost/unbound:1 true 2>/dev/null; then
        run -0 gated run --runtime crun --rm --user 1000 localhost/app:1 cat /text
    fi
    # podman cp, before the first start.
    gated create --name app localhost/app:1 cat /text
    echo tampered >/srv/tampered
    with_bound cp /srv/tampered app:/text
    run with_bound start -a app
    refused "the container's own layer has /text, which is not of the image"
    with_bound rm app
    # An earlier run; the first start after "create" is none.
    gated create --name app localhost/app:1 sh -c 'cat /text; echo tampered >/etc/left; touch /tmp/left'
    run -0 with_bound start -a app
    assert "$output" == "the bound one"
    run with_bound start -a app
    refused "the container's own layer has /"
    with_bound rm app
    # The administrator allows it, an image does not.
    gated create --annotation io.bootc-podman.allow-changes=true --name app localhost/app:1 cat /text
    with_bound cp /srv/tampered app:/text
    run -0 with_bound start -a app
    assert "$output" == tampered
    rm -f /srv/cid
}

@test "bound-gate, ledger: containers of a transient store are found" {
    podman --help | grep -q transient-store || skip "this podman has no transient stores"
    # Their records are below the run root.
    local transient=(--transient-store "${o2[@]}" --storage-opt "additionalimagestore=$STORE")
    run podman "${transient[@]}" run -d --name app --network none --annotation io.bootc-podman.require=bound localhost/app:1 sleep 100
    assert "$status" == 0 "$output: $(cat /run/bootc-podman/denied/* 2>/dev/null)"
    [ -s /run/o2/overlay-containers/volatile-containers.json ]
    bp usage --format '{{.Name}} {{.Image}} {{.Stores}} {{.GraphRoot}}'
    assert "$output" == "app localhost/app:1 bootc /var/lib/containers/o2"
    podman "${transient[@]}" rm -f -t 0 app
    rm -rf /run/bootc-podman/denied
    run podman "${transient[@]}" run --network none --annotation io.bootc-podman.require=bound localhost/unbound:1 true
    assert "$status" != 0 "starts"
    assert "$(jq -r .reason /run/bootc-podman/denied/*)" =~ 'localhost/unbound:1, .* is not bound to the booted deployment'
    rm -rf /run/o2
}

@test "bound-gate: an image that is bound but not there does not start by another name" {
    podman build -q -t localhost/missing:1 /srv/other >/dev/null
    start localhost/missing:1
    refused 'image localhost/missing:1, .* is not bound|shadowed'
}

@test "bound-gate: a lock pins the digest" {
    local digest
    digest=$(oracle image inspect --format '{{.Digest}}' localhost/app:1)
    echo "{\"schema\": 1, \"images\": {\"localhost/app:1\": \"$digest\"}}" >/etc/bootc-podman/bound.lock
    start localhost/app:1
    assert "$status $output" == "0 the bound one"
    with_bound rm app
    echo '{"schema": 1, "images": {"localhost/app:1": "sha256:0"}}' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'but sha256:0 is in /etc/bootc-podman/bound.lock'
    with_bound rm app
    echo '{"schema": 1, "images": {}}' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'is not in /etc/bootc-podman/bound.lock'
    with_bound rm app
    echo '{' >/etc/bootc-podman/bound.lock
    start localhost/app:1
    refused 'decode /etc/bootc-podman/bound.lock'
}

@test "bound-gate: bound lock writes what is there" {
    bp 1 bound lock
    assert "$stderr" =~ 'lock bound image "localhost/missing:1"'
    bp image tag localhost/app:1 localhost/missing:1
    bp bound lock
    bp image untag --force-in-use localhost/app:1 localhost/missing:1
    assert "$(jq -c .images /etc/bootc-podman/bound.lock)" == \
        "$(oracle image inspect --format '{"localhost/app:1":"{{.Digest}}","localhost/missing:1":"{{.Digest}}"}' localhost/app:1)"
    start localhost/app:1
    assert "$status" == 0
}

@test "bound-gate: bound lock is also of the staged deployment, which starts its containers after the reboot" {
    local booted next name
    cd /srv
    booted=$(echo /sysroot/ostree/deploy/default/deploy/*.0)
    os_tree tree.next 43
    for name in app next; do os_bind tree.next "localhost/$name:1" "$name.container"; done
    next=$(os_deploy "$(os_image docker_3A__2F__2F_quay_2E_io_2F_os_3A_43 43 tree.next)" ostree-unverified-registry:quay.io/os:43)
    os_boot "${booted##*/}"
    os_stage "$next"
    bp image tag localhost/app:1 localhost/missing:1
    bp 1 bound lock
    assert "$stderr" =~ 'lock bound image "localhost/next:1" of the staged deployment'
    bp image build -q -t localhost/next:1 /srv/other
    bp bound lock
    assert "$(jq -r '.images | keys[]' /etc/bootc-podman/bound.lock | xargs)" == "localhost/app:1 localhost/missing:1 localhost/next:1"
    # The reboot.
    rm /run/ostree/staged-deployment
    os_boot "$next"
    start localhost/next:1
    assert "$status $output" == "0 something else"
    with_bound rm app
    jq 'del(.images["localhost/next:1"])' /etc/bootc-podman/bound.lock >lock
    cat lock >/etc/bootc-podman/bound.lock
    start localhost/next:1
    refused 'is not in /etc/bootc-podman/bound.lock'
    os_boot "${booted##*/}"
    bp image untag --force-in-use localhost/app:1 localhost/missing:1
}

@test "bound-gate: the break-glass file opens it" {
    # As on a host where no hook wrote anything since the boot.
    rm -rf /run/bootc-podman
    install -d -m 755 /run/bootc-podman && touch /run/bootc-podman/gate-off
    journal_start
    start localhost/unbound:1
    journal_stop
    assert "$status $output" == "0 not bound"
    assert "$(grep -a ^MESSAGE= /srv/journal)" =~ 'starts since the gate is off: image localhost/unbound:1'
}

@test "bound-gate: bound-warn only warns" {
    rm -f /srv/journal
    journal_start
    start localhost/unbound:1 bound-warn
    journal_stop
    assert "$status $output" == "0 not bound"
    assert "$(grep -a ^MESSAGE= /srv/journal)" =~ 'would not start: image localhost/unbound:1'
}

# decides WHERE - the bound image starts and another does not, whatever can be written
# down of it.
decides() {
    start localhost/app:1
    assert "$status $output" == "0 the bound one" "with $1"
    with_bound rm -f app
    start localhost/unbound:1
    assert "$status" != 0 "what is not bound starts with $1"
    assert "$output" =~ "bound-gate" "with $1"
    with_bound rm -f app
    start localhost/unbound:1 bound-warn
    assert "$status $output" == "0 not bound" "bound-warn with $1"
    with_bound rm -f app
}

@test "bound-gate: a state that cannot be written changes no decision" {
    mkdir -p /run/bootc-podman
    mount -t tmpfs -o ro none /run/bootc-podman
    decides "a read-only state"
    umount /run/bootc-podman
    mount -t tmpfs -o size=4k,mode=0755 none /run/bootc-podman
    head -c 8192 /dev/zero >/run/bootc-podman/fill || true
    decides "a full state"
    umount /run/bootc-podman
    # podman and the runtime need some of /run themselves.
    local dir
    for dir in $RUN_DIRS; do
        mkdir -p "/run/$dir" /srv/run
        cp -a "/run/$dir" /srv/run
        mount --bind "/srv/run/$dir" "/run/$dir"
    done
    rm -rf /run/bootc-podman
    mount -o remount,bind,ro /run
    decides "a read-only /run"
    [ ! -e /run/bootc-podman ] || die "written in a read-only /run"
    mount -o remount,bind,rw /run
    mount -o remount,size=16m /run
    head -c 32M /dev/zero >/run/fill || true
    decides "a full /run"
}

@test "bound-gate: on a host that booted nothing, nothing starts" {
    umount /proc/cmdline
    start localhost/app:1
    mount --bind /run/cmdline /proc/cmdline
    refused 'no deployment is booted here'
}

@test "bound-gate: hooks explain says the reason" {
    start localhost/unbound:1 bound-warn
    local id
    id=$(with_bound container inspect --format '{{.Id}}' app)
    jq '.annotations["io.bootc-podman.require"] = "bound"' "/var/lib/containers/storage/overlay-containers/$id/userdata/config.json" >/srv/config.json
    bp hooks explain /srv/config.json
    assert "$output" =~ 'does not let the container start: image localhost/unbound:1'
}

@test "identity: what the host booted is there for containers" {
    rm -f /run/bootc-podman/host.json
    bp hooks identity
    run -0 with_bound run --network none -v /run/bootc-podman/host.json:/run/bootc-host.json:ro \
        localhost/app:1 cat /run/bootc-host.json
    assert "$(jq -r '.kind, .image, .version' <<<"$output" | xargs)" == "ostree docker://quay.io/os:42 42"
    assert "$(jq -r .digest <<<"$output")" =~ ^sha256:
    # The ledger records it, and status refreshes it.
    run -0 with_bound run -d --name app --network none localhost/app:1 sleep 100
    [[ $output =~ ^[0-9a-f]{64}$ ]]
    assert "$(jq -r .booted_digest "/run/bootc-podman/leases/$output.json")" == "$(jq -r .digest /run/bootc-podman/host.json)"
    rm /run/bootc-podman/host.json
    bp status
    assert "$(jq -r .version /run/bootc-podman/host.json)" == 42
    # So do verbs that change this host; those that read do not.
    rm /run/bootc-podman/host.json
    bp list
    bp exists localhost/app:1
    bp copy-to-storage --dry-run
    [ ! -e /run/bootc-podman/host.json ] || die "written by a verb that reads"
    bp copy-to-storage --quiet --from ostree
    assert "$(jq -r .version /run/bootc-podman/host.json)" == 42
}
