#!/usr/bin/env bats
# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# What the host needs stays: image rm, rmi, prune and untag on a store with 45 images, and
# the same commands of podman's, which do the harm.

# shellcheck disable=SC2001,SC2030,SC2031,SC2016 # each test is a process of its own

load helpers
load containers
load os-images
load safe-delete

FOREIGN=/var/lib/containers/foreign

# needed: ROW NAMES - the images that something needs, see setup_file for what.
NEEDED='
booted quay.io/t/os:1
staged quay.io/t/os:2
rollback quay.io/t/os:3
pinned quay.io/t/os:4
digest quay.io/t/renamed:1
nameless -
lost -
otag -
bound quay.io/t/bound:1
untagged quay.io/t/untagged:latest
btag -
bdigest quay.io/t/bdigest:7
hub1 docker.io/library/hub:1
hub2 docker.io/library/hub2:latest
user docker.io/user/x:1
hub5 docker.io/library/hub5:1
docker quay.io/t/docker:1
local localhost/loc:1
short localhost/plain:latest
port localhost:5000/port:latest
mixed quay.io/t/mixed:TagX
stagedb quay.io/t/stagedb:1
rollbackb quay.io/t/rollbackb:1
pinnedb quay.io/t/pinnedb:1
unit quay.io/t/unit:1
running quay.io/t/running:1
stopped quay.io/t/stopped:1
foreign quay.io/t/foreign:1
own quay.io/t/own:1
linked quay.io/t/linked:1
base quay.io/t/base:1
leased quay.io/t/leased:1
rootless quay.io/t/rootless:1
otherroot quay.io/t/otherroot:1
'

# free: ROW NAMES PARENT - the images that nothing needs.
FREE='
free quay.io/t/free:1
similar quay.io/t/bound:2
prefix quay.io/t/boun:1
other other.example/t/bound:1
two quay.io/t/two:1,quay.io/t/two:2
dangling -
parent quay.io/t/parent:1
child quay.io/t/child:1 parent
inner -
outer quay.io/t/outer:1 inner
upon quay.io/t/upon:1 nameless
copied quay.io/t/copied:1
'

visible() { podman --storage-opt "additionalimagestore=$STORE" "$@"; }
foreign() { podman --root "$FOREIGN" --runroot /run/foreign --storage-driver overlay --storage-opt "additionalimagestore=$STORE" "$@"; }

# bind ROW IMAGE... - images that the deployment of ROW has bound.
bind() {
    local row=$1 image
    shift
    for image; do os_bind "tree.$row" "$image" "u$((count += 1)).container"; done
}

# rename ROW NAME - give an image a name that no other program gives: with a digest.
rename() {
    jq -c --arg id "$(id "$1")" --arg name "$2" '(.[] | select(.id == $id) | .names) = [$name]' "$STORE/overlay-images/images.json" >records
    cat records >"$STORE/overlay-images/images.json"
}

setup_file() {
    container_conf
    ostree_host
    mkdir -p /etc/containers/registries.conf.d
    echo 'unqualified-search-registries = ["docker.io"]' >/etc/containers/registries.conf.d/000-hub.conf
    cd /srv && mkdir archive || return 1
    local row names parent count=0 id
    {
        while read -r row names parent; do
            case $row in
            '' | running | foreign) ;;
            *) add_image "$row" "$names" "$parent" ;;
            esac
        done <<<"$NEEDED$FREE"
        # Two that containers run.
        shell_context /srv/shell
        load_images
        for row in running foreign; do
            cp -a /srv/shell "/srv/$row"
            echo "$row" >"/srv/$row/root/text"
            oracle build -q --layers=false -t "quay.io/t/$row:1" "/srv/$row"
            oracle image inspect --format '{{.Id}}' "quay.io/t/$row:1" >"id.$row"
        done
        digest() { jq -r --arg id "$(id "$1")" '.[] | select(.id == $id) | .digest' "$STORE/overlay-images/images.json"; }
        rename otag "quay.io/t/os6@$(digest otag)"
        rename btag "quay.io/t/btag@$(digest btag)"
        os_tree tree 1
        for row in booted staged rollback pinned digest nameless lost otag; do cp -a tree "tree.$row"; done
        bind booted quay.io/t/bound:1 quay.io/t/untagged "quay.io/t/btag:3@$(digest btag)" "quay.io/t/bdigest@$(digest bdigest)" \
            hub:1 hub2 user/x:1 docker.io/hub5:1 docker://quay.io/t/docker:1 localhost/loc:1 plain localhost:5000/port quay.io/t/mixed:TagX
        bind staged quay.io/t/stagedb:1
        bind rollback quay.io/t/rollbackb:1
        bind pinned quay.io/t/pinnedb:1
        mkdir -p tree.booted/usr/share/containers/systemd
        printf '[Image]\nImage=quay.io/t/unit:1\n' >tree.booted/usr/share/containers/systemd/unit.image
        ln -s /usr/share/containers/systemd/unit.image tree.booted/usr/lib/bootc/bound-images.d/
        local prefix=docker_3A__2F__2F_quay_2E_io/t D
        deploy_image otag "$prefix/os6_3A_6" "ostree-unverified-registry:quay.io/t/os6:6@$(digest otag)"
        deploy_image lost "$prefix/lost_3A_1" ostree-unverified-registry:quay.io/t/lost:1
        deploy_image nameless "$prefix/gone_3A_1" ostree-unverified-registry:quay.io/t/gone:1
        deploy_image digest "$prefix/old_3A_1" ostree-unverified-registry:quay.io/t/old:1
        deploy_image pinned "$prefix/os_3A_4" ostree-unverified-registry:quay.io/t/os:4
        deploy_image rollback "$prefix/os_3A_3" ostree-image-signed:docker://quay.io/t/os:3
        D=$(deploy_image booted "$prefix/os_3A_1" ostree-remote-registry:x:quay.io/t/os:1)
        os_boot "$D"
        stage "$(deploy_image staged "$prefix/os_3A_2" ostree-unverified-registry:quay.io/t/os:2)"
        os_boot "$D"
        cp -a tree.booted/usr/lib/bootc tree.booted/usr/share /usr/local/ && ln -sfn /usr/local/bootc /usr/lib/bootc
        mkdir -p /usr/share/containers && cp -a tree.booted/usr/share/containers/systemd /usr/share/containers/

        visible run -d --name running --network none quay.io/t/running:1 sleep 1000
        visible create --name stopped quay.io/t/stopped:1 x
        visible create --name onbase quay.io/t/base:1 x
        foreign run -d --name foreign --network none quay.io/t/foreign:1 sleep 1000
        oracle create --name own quay.io/t/own:1 x
        # An image of podman's own store upon one of the bootc-owned store.
        printf 'FROM quay.io/t/linked:1\nLABEL upon=linked\n' >Containerfile
        visible build -q -t localhost/linked -f Containerfile archive
        # A container upon podman's own copy.
        podman load -q -i /srv/copied.tar 2>/dev/null || oracle save -q -o /srv/copied.tar quay.io/t/copied:1
        podman load -q -i /srv/copied.tar
        podman create --name copied quay.io/t/copied:1 x
        # A store in a home directory, and one of another stateroot.
        echo user:100000:65536 >>/etc/subuid
        echo user:x:1000:1000::/home/user:/bin/sh >>/etc/passwd
        mkdir -p /home/user/.local/share/containers /sysroot/ostree/deploy/default/var/lib/containers
        podman --root /var/lib/containers/home --runroot /run/home --storage-driver overlay --storage-opt "additionalimagestore=$STORE" create --name rootless quay.io/t/rootless:1 x
        mv /var/lib/containers/home /home/user/.local/share/containers/storage
        podman --root /var/lib/containers/var --runroot /run/var --storage-driver overlay --storage-opt "additionalimagestore=$STORE" create --name otherroot quay.io/t/otherroot:1 x
        mv /var/lib/containers/var /sysroot/ostree/deploy/default/var/lib/containers/storage
        # A lease, as the hook writes it, of a process that runs.
        sleep 1000 3>&- &
        echo $! >leased.pid
        mkdir -p /run/bootc-podman/leases
        id=$(printf %064d 7)
        jq -n --arg id "$id" --arg image "$(id leased)" --argjson pid "$(cat leased.pid)" --arg boot "$(cat /proc/sys/kernel/random/boot_id)" \
            --argjson start "$(sed 's/.*) //' "/proc/$(cat leased.pid)/stat" | cut -d' ' -f20)" \
            --arg layer "$(jq -r --arg id "$(id leased)" '.[] | select(.id == $id) | .layer' "$STORE/overlay-images/images.json")" --arg store "$STORE" \
            '{schema: 1, id: $id, name: "leased", image: {id: $image, name: "x", digest: ""}, store: "/elsewhere",
              layers: [{id: $layer, store: "bootc", path: $store}], pid: $pid, pid_start: $start, boot_id: $boot, started: "2026-01-01T00:00:00Z"}' \
            >"/run/bootc-podman/leases/$id.json"
    } >/dev/null
    # Nothing else is in the store.
    assert "$(rows)" == "$(awk 'NF { print $1 }' <<<"$NEEDED$FREE" | LC_ALL=C sort)" 'rows in the store'
}

teardown_file() {
    foreign rm -fa -t 0 >/dev/null || true
    visible rm -fa -t 0 >/dev/null || true
    kill "$(cat /srv/leased.pid)" || true
    rm -f /etc/containers/containers.conf
    umount -q /proc/cmdline || true
    umount -l /sysroot
}

setup() { cd /srv || return 1; }
# text PODMAN CONTAINER - a file in the root directory of a container that runs.
text() { cat "/proc/$("$1" inspect --format '{{.State.Pid}}' "$2")/root/text"; }

# rows_of TABLE - the rows of a table of images.
rows_of() { awk 'NF { print $1 }' <<<"$1"; }

# refused ARG... - bootc-podman refuses, and the store is unchanged.
refused() {
    local before
    before=$(held)
    bp 125 "$@"
    assert "$stderr" =~ 'needed by the'
    assert "$stderr" =~ Hint:
    assert "$output" == ""
    assert "$(held)" == "$before" "$*: the store"
}

@test "safe delete: rm and rmi by ID, and untag, of what is needed" {
    local row name
    for row in $(rows_of "$NEEDED"); do
        refused image rm "$(id "$row")"
        refused rmi -f "sha256:$(id "$row")"
        case $row in nameless | lost | otag | btag) continue ;; esac
        for name in $(names "$row"); do
            refused image rm --force "$name"
        done
        # Containers and other images go by files, and need no name.
        case $row in digest | running | stopped | foreign | own | linked | base | leased | rootless | otherroot) continue ;; esac
        refused image untag "$(id "$row")"
        refused image untag "$(id "$row")" "$(names "$row")"
    done
    refused image rm -af
    refused image rm --all
    refused rmi quay.io/t/free:1 quay.io/t/bound:1
}

@test "safe delete: who needs it is named" {
    local row want
    while IFS='|' read -r row want; do
        bp 125 rmi "$(id "$row")"
        assert "$stderr" =~ "$want" "$row"
    done <<'END'
booted|booted deployment default/.*, which follows docker://quay.io/t/os:1
staged|staged deployment default/.*, which follows
rollback|deployment default/.*, which follows docker://quay.io/t/os:3
digest|deployment default/.*, which follows docker://quay.io/t/old:1
hub5|booted deployment .*, which has docker.io/hub5:1 bound
btag|which has quay.io/t/btag:3@sha256:
stagedb|staged deployment .*bound
unit|which has quay.io/t/unit:1 bound
running|container running \([0-9a-f]{12}\) in /var/lib/containers/storage
foreign|container foreign \(.*\) in /var/lib/containers/foreign
own|container own \(.*\) in /sysroot/ostree/bootc/storage
linked|image localhost/linked:latest \(.*\) in /var/lib/containers/storage
leased|container leased \(.*\) in /elsewhere
rootless|container rootless \(.*\) in /home/user/.local/share/containers/storage
otherroot|container otherroot \(.*\) in /sysroot/ostree/deploy/default/var/lib/containers/storage
END
}

@test "safe delete: a name more of a needed image comes and goes" {
    local row
    for row in booted bound untagged hub2 digest running; do
        bp image tag "$(id "$row")" quay.io/t/extra:1
        refused image rm -f "$(id "$row")"
        bp image rm quay.io/t/extra:1
        bp image tag "$(id "$row")" quay.io/t/extra:1
        bp image untag "$(id "$row")" quay.io/t/extra:1
        ! grep -q extra <<<"$(names "$row")" || die "$row: name left"
    done
    # Of two names, the one that is bound stays.
    bp image tag quay.io/t/bound:1 quay.io/t/extra:1
    refused image rm quay.io/t/bound:1
    refused image untag quay.io/t/extra:1
    bp image rm quay.io/t/extra:1
    # The nameless image is needed, and is the parent of this one.
    refused image rm quay.io/t/upon:1
    assert "$stderr" =~ 'the parent of one to be removed'
}

@test "safe delete: prune and its dry run" {
    local before want
    before=$(held)
    bp image prune --dry-run
    assert "$output" == "$(id dangling)"
    assert "$stderr" =~ 'Keeping [0-9a-f]{12}: needed by the .*quay.io/t/lost:1'
    bp image prune -a --dry-run
    want=$(for row in $(rows_of "$FREE"); do echo "$(id "$row") $(names "$row")"; done | sed 's/ $//' | LC_ALL=C sort)
    assert "$(LC_ALL=C sort <<<"$output")" == "$want"
    bp --dry-run image prune -a
    assert "$(LC_ALL=C sort <<<"$output")" == "$want"
    bp image prune --dry-run -a --filter label=row=free
    assert "$output" == "$(id free) quay.io/t/free:1"
    bp 125 image prune --dry-run --filter nonsense=x
    assert "$(held)" == "$before"
    # Asked like podman.
    run --separate-stderr "$BOOTC_PODMAN" image prune <<<n
    assert "$status" == 0
    assert "$output" =~ 'Are you sure you want to continue'
    run -125 --separate-stderr "$BOOTC_PODMAN" image prune </dev/null
    assert "$(held)" == "$before"
    bp image prune -f
    assert "$output" == "$(id dangling)"
    before=$(held)
    refused exec -- podman image prune -f
    refused exec -- podman image prune -af
}

@test "safe delete: under exec" {
    refused exec -- podman image rm -f "$(id bound)"
    refused exec -- podman rmi quay.io/t/os:1
    refused exec -- podman --log-level=error untag quay.io/t/bound:1
    refused exec podman image untag quay.io/t/bound:1
    refused exec -- podman system prune -f
    refused exec -- podman system prune -af
    local before
    before=$(held)
    run -125 --separate-stderr "$BOOTC_PODMAN" exec -- podman system reset -f <<<n
    assert "$stderr" =~ 'quay.io/t/running:1 .container running'
    assert "$(held)" == "$before"
    bp image tag quay.io/t/free:1 quay.io/t/free:2
    bp exec -- podman rmi quay.io/t/free:2
    bp exec -- podman rmi --force-in-use quay.io/t/boun:1
    ! stored prefix || die 'not removed'
}

@test "safe delete: whatever podman takes for a needed image is refused" {
    local row name id digest spelling
    for row in untagged hub1 local linked; do
        name=$(names "$row") id=$(id "$row")
        digest=$(jq -r --arg id "$id" '.[] | select(.id == $id) | .digest' "$STORE/overlay-images/images.json")
        for spelling in "${name%:*}" "${name#*/}" "${name##*/}" "${name##*/library/}" "${id:0:12}" "${id:0:4}" "sha256:$id" "${name%:*}@$digest" "$name@$digest" \
            "${name##*/}@$digest" "$digest" "${digest#*:}" "docker://$name" "containers-storage:$name" "containers-storage:@$id" "containers-storage:${id:0:12}" \
            "containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]$name" "[overlay@/run/bootc/storage+/proc/self/fd/3]$name"; do
            run oracle image inspect --format '{{.Id}}' "$spelling"
            [ "$status $output" = "0 $id" ] || continue
            refused rmi "$spelling"
            refused exec -- podman image rm -fi=1 -- quay.io/t/none:1 "$spelling"
        done
    done
}

@test "safe delete: command lines that podman reads otherwise than they look" {
    local name=quay.io/t/bound:1
    # podman takes the word after -- for the value of an option without a name.
    refused image -- x rm "$name"
    refused exec -- podman -- x rmi "$name"
    refused exec -- podman --out -- x rmi "$name"
    refused exec -- podman --out --root x rmi "$name"
    refused exec -- podman --out --help rmi "$name"
    refused exec -- podman --log-level=error --remote=0 rmi "$name"
    refused exec -- podman --help=0 rmi "$name"
    refused exec -- podman rmi --help --help=F "$name"
    refused image rm --help --help=false "$name"
    refused exec -- podman --root /x --root=/run/bootc/../bootc/storage/ rmi "$name"
    # Help is not for the bootc-owned store, nor is what it does not help with.
    podman load -q -i /srv/copied.tar
    bp 1 image rm --help --help=false quay.io/t/copied:1 quay.io/t/none:1
    podman image exists quay.io/t/copied:1
    load_images
    # Another store is the user's own.
    bp 1 exec -- podman --root /var/lib/containers/other --runroot /run/other --storage-driver overlay rmi "$name"
    assert "$stderr" =~ 'image not known'
}

@test "safe delete: other programs, and other commands, that remove" {
    local name=quay.io/t/bound:1 before
    # They remove what nothing needs.
    load_images
    oracle tag quay.io/t/free:1 quay.io/t/spare:1
    bp exec -- skopeo delete containers-storage:quay.io/t/spare:1
    ! stored free || die 'skopeo left the image its other name'
    bp exec -- buildah rmi quay.io/t/boun:1
    ! stored prefix || die 'not removed'
    load_images
    oracle manifest create quay.io/t/list:1 >/dev/null
    bp exec -- podman manifest rm quay.io/t/list:1
    before=$(held)
    refused exec -- skopeo delete "containers-storage:$name"
    refused exec -- skopeo -- x delete "containers-storage:@$(id bound)"
    refused exec -- skopeo --override-os linux delete "containers-storage:[overlay@/run/bootc/storage+/x]$name"
    refused exec -- skopeo delete "containers-storage:[overlay@$STORE+/x]$name"
    refused exec -- buildah rmi -f "$name"
    refused exec -- buildah --root "$STORE" rmi "$(id bound)"
    refused exec -- buildah --log-level -- rmi "$name"
    refused exec -- buildah rmi -af
    refused exec -- buildah rmi --prune
    refused exec -- buildah prune -af
    refused exec -- podman manifest rm "$name"
    refused exec -- podman manifest push --rm "$name" dir:/srv/pushed
    refused exec -- podman system check --repair --force
    # A needed name stays with its image.
    refused image tag quay.io/t/free:1 "$name"
    refused image tag "$(id free)" quay.io/t/more:1 "$name"
    refused exec -- podman tag quay.io/t/free:1 plain
    refused exec -- buildah tag quay.io/t/free:1 quay.io/t/os:1
    assert "$(held)" == "$before"
    bp image tag --force-in-use quay.io/t/free:1 "$name"
    assert "$(names bound)" == ""
    bp image tag --force-in-use "$(id bound)" "$name"
    assert "$(names bound) $(names free)" == "$name quay.io/t/free:1"
    # What is elsewhere is the user's own.
    mkdir -p /srv/blobs && bp 125 exec -- skopeo --tmpdir /srv delete --help=0 dir:/srv/blobs || true
    ! grep -q 'needed by' <<<"$stderr" || die "$stderr"
    bp exec -- buildah rmi --force-in-use quay.io/t/boun:1
    load_images
}

@test "safe delete: what nothing needs passes, with podman's own words and status" {
    local line
    load_images
    for line in 'rm quay.io/t/none:1' 'rm -i quay.io/t/none:1' 'rm' 'rm -a x' 'rm --nonsense x' 'untag quay.io/t/none:1' \
        'prune x' "rm $(id two)" 'rm UPPER' 'rm --help' 'untag'; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr oracle image $line
        local status_want=$status out_want=$output err_want=$stderr
        # shellcheck disable=SC2086 # words
        bp "$status_want" image $line </dev/null
        assert "$output" == "$out_want" "$line"
        assert "$(sed 's/time="[^"]*"//' <<<"$stderr")" == "$(sed 's/time="[^"]*"//' <<<"$err_want")" "$line"
    done
    for line in free similar other two parent outer copied; do
        bp image untag "$(id "$line")"
    done
    load_images
    bp image rm quay.io/t/free:1 quay.io/t/bound:2 "$(id prefix)" quay.io/t/two:1
    assert "$(names two)" == quay.io/t/two:2
    bp rmi quay.io/t/two:2 other.example/t/bound:1
    bp rmi quay.io/t/parent:1
    bp rmi -f "$(id child)" "$(id outer)" "$(id copied)"
    bp rmi --no-prune quay.io/t/upon:1
    bp image prune -f
    assert "$(rows)" == "$(rows_of "$NEEDED" | LC_ALL=C sort)"
    podman start copied >/dev/null 2>&1 || podman container inspect copied >/dev/null
}

@test "safe delete: prune -af keeps what is needed and removes the rest" {
    local before
    load_images
    assert "$(rows)" == "$(rows_of "$NEEDED$FREE" | LC_ALL=C sort)"
    before=$(for row in $(rows_of "$NEEDED"); do echo "$row $(names "$row")"; done)
    bp image prune -af
    assert "$(LC_ALL=C sort <<<"$output")" == "$(for row in $(rows_of "$FREE"); do id "$row"; done | LC_ALL=C sort)"
    assert "$(for row in $(rows_of "$NEEDED"); do echo "$row $(names "$row")"; done)" == "$before"
    assert "$(rows)" == "$(rows_of "$NEEDED" | LC_ALL=C sort)"
    bp image prune -af
    assert "$output" == ""
    assert "$(text visible running)" == running
    assert "$(text foreign foreign)" == foreign
}

@test "gc: the forecast of bootc's cleanup, and what nothing needs" {
    load_images
    bp gc --dry-run --format json
    assert "$(jq -c '.collects, .fails' <<<"$output" | tr '\n' ' ')" == 'true true '
    assert "$(jq -r '.unneeded[].id' <<<"$output" | LC_ALL=C sort)" == "$(for row in $(rows_of "$FREE"); do id "$row"; done | LC_ALL=C sort)"
    local row
    why() { jq -r --arg id "$(id "$1")" '.images[] | select(.id == $id) | .why + " " + .blocked' <<<"$output"; }
    for row in booted staged rollback pinned bound local mixed; do assert "$(why "$row")" == "" "$row"; done
    for row in untagged btag hub1 hub2 user hub5 docker short port; do assert "$(why "$row")" == "other-spelling " "$row"; done
    assert "$(why two)" == "no-deployment several-names"
    assert "$(why own)" == "no-deployment in-use"
    assert "$(why dangling)" == "no-name "
    bp gc --dry-run
    assert "$output" =~ "several names: podman refuses"
    bp gc
    assert "$(rows)" == "$(rows_of "$NEEDED" | LC_ALL=C sort)"
}

@test "safe delete: what cannot be read is refused, and the option goes on" {
    local origin
    origin=$(echo /sysroot/ostree/deploy/default/deploy/*.0.origin | cut -d' ' -f1)
    cp -a "$origin" /srv/origin
    load_images
    echo '[origin' >"$origin"
    bp 125 rmi quay.io/t/free:1
    assert "$stderr" =~ "determine which images the host needs: read origin"
    assert "$stderr" =~ "Hint: --force-in-use"
    bp 125 image prune -f
    bp 1 gc
    assert "$stderr" =~ "determine which images the host needs: read origin"
    ! grep -q force-in-use <<<"$stderr" || die 'gc has no such option'
    bp rmi --force-in-use quay.io/t/free:1
    cp -a /srv/origin "$origin"
    bp image rm --force-in-use quay.io/t/mixed:TagX
    ! stored mixed || die 'not removed'
    bp 125 rmi --log-level --force-in-use quay.io/t/bound:1
    stored bound
    # Without a host, podman's own words.
    mkdir -p /srv/nohost
    bp 125 --sysroot /srv/nohost rmi x
    ! grep -q force-in-use <<<"$stderr" || die "$stderr"
}

@test "safe delete: podman alone removes the files of containers and images in other stores" {
    # E6: the root directory of a container that runs becomes empty.
    assert "$(text visible running)" == running
    bp 125 rmi quay.io/t/running:1
    oracle rmi quay.io/t/running:1
    run ! text visible running
    # E7: an image of podman's own store loses its layers.
    podman --storage-opt "additionalimagestore=$STORE" run --rm --network none localhost/linked x 2>&1 | grep -v 'not known' || true
    bp 125 rmi quay.io/t/linked:1
    oracle rmi quay.io/t/linked:1
    run ! visible image mount localhost/linked
    # prune -af empties the host's store.
    oracle image prune -af >/dev/null
    assert "$(rows)" == own
    run ! text foreign foreign
}
