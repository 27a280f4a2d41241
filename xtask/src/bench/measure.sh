# Runs as the test user in a lab. Arguments: what to measure (a group of rows.rs), how often, and where the user's
# subordinate uids and gids begin. bash reads the clock without a process of its own, so a line
# `ROW SIDE MICROSECONDS STATUS` measures the command alone; a line with # is for people. The order of the sides rotates.
# Expects the containers web-bryo and web-lxc, and for life a bundle of crun's in ~/bundle.
bryo=/run/bryo-lab/prefix/bin
lxc=/usr/bin
archive=/run/bryo-lab/rootfs/debian-12.tar.zst
image=/run/bryo-lab/prefix/libexec/bryo/bryo-image
netdev=/run/bryo-lab/prefix/libexec/bryo/bryo-netdev
user_nic=/usr/libexec/lxc/lxc-user-nic
if [ ! -e "$user_nic" ]; then user_nic=/usr/lib/$(uname -m)-linux-gnu/lxc/lxc-user-nic; fi

timed() {
    local row=$1 side=$2
    shift 2
    local begin=$EPOCHREALTIME
    "$@" >/dev/null 2>&1 </dev/null
    local status=$? end=$EPOCHREALTIME
    echo "$row $side $((${end/./} - ${begin/./})) $status"
}

# rotated NUMBER SIDE...: the sides, so that each is the first as often as any other.
rotated() {
    local number=$(($1 % ($# - 1)))
    shift
    echo "${@:$((number + 1))}" "${@:1:$number}"
}

# What starts less than a container: all namespaces with true as their root, by the system's own tools.
start_unshare() {
    unshare --user --map-users="$uid_start,0,65536" --map-groups="$gid_start,0,65536" --setuid 0 --setgid 0 \
        --mount --uts --ipc --net --pid --cgroup --fork true
}
start_crun() { crun --cgroup-manager=disabled run --bundle "$HOME/bundle" bench-$$; }
start_bwrap() { bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true; }

# A rival that does not run here is named, with the reason, and left out.
begin_life() {
    rivals=
    for side in unshare crun bwrap; do
        if why=$(start_$side 2>&1 </dev/null); then rivals+=" $side"; else echo "# $side is left out: ${why##*$'\n'}"; fi
    done
}

# The kernel takes network namespaces and cgroups away after the command that ended them: at rest, so that the next side
# does not pay for it.
life() {
    for side in $(rotated "$1" bryo lxc $rivals); do
        sleep 0.3
        case $side in
        bryo | lxc)
            timed start $side "${!side}/lxc-start" -n web-$side
            timed attach $side "${!side}/lxc-attach" -n web-$side -- true
            timed info $side "${!side}/lxc-info" -n web-$side
            timed stop $side "${!side}/lxc-stop" -n web-$side -k
            ;;
        *) timed start $side start_$side ;;
        esac
    done
}

lists() {
    for side in $(rotated "$1" bryo lxc); do
        timed info-stopped $side "${!side}/lxc-info" -P "$HOME/fifty" -n s7
        timed ls-50 $side "${!side}/lxc-ls" -P "$HOME/fifty"
        timed ls-f-50 $side "${!side}/lxc-ls" -P "$HOME/fifty" -f
    done
}

# The tree that tar fills lies beside the container's, on the same file system. What was written is on the disk before the
# next one begins, so that neither pays for the other, and all stay until the end: ext4 gives the inode of a file that was removed in the
# last minutes to no new one, and looks at each such inode whenever it makes a file (recently_deleted in fs/ext4/ialloc.c), which took up
# to ten times as long as all else.
begin_create() { mkdir -m 777 "$HOME/tree"; }

create() {
    for side in $(rotated "$1" bryo tar); do
        sync -f "$HOME"
        case $side in
        bryo) timed create $side "$bryo/bryo" create "debian-$1" "$archive" ;;
        tar)
            inside mkdir "$HOME/tree/$1"
            # Bryo leaves device nodes out, and nobody could make them.
            timed create $side inside sh -c "zstd -dc $archive | tar -x --exclude=./dev/* -C $HOME/tree/$1"
            ;;
        esac
    done
}

end_create() {
    for ((run = 0; run < runs; run++)); do
        "$bryo/bryo" destroy "debian-$run"
        inside rm -r "$HOME/tree/$run"
    done
    rmdir "$HOME/tree"
}

# The archive with the largest window that is unpacked is made once. Each time another tree is filled, and all stay until the end here too.
begin_unpack() {
    mkdir -m 777 "$HOME/tree"
    zstd -dc "$archive" | zstd -q -1 --long=27 -o "$HOME/tree/long.tar.zst"
} >/dev/null 2>&1

unpack() {
    unpack_from "$1" zst "$archive" zstd
    unpack_from "$1" xz "${archive%.zst}.xz" xz
    if [ "$1" = 0 ]; then for kind in zst xz long; do unpacked_in "$kind"; done; fi
}

# unpack_from NUMBER ROW ARCHIVE DECODER: Bryo's unpacker ends when all is on the disk, and tar earlier, so tar is measured with that too.
unpack_from() {
    for side in $(rotated "$1" bryo tar synced); do
        tree=$HOME/tree/$2-$side-$1
        inside mkdir "$tree"
        sync -f "$HOME"
        case $side in
        bryo) timed "unpack-$2" bryo unpack_by_bryo "$3" ;;
        tar) timed "unpack-$2" tar unpack_by_tar "$4 -dc $3" true ;;
        synced) timed "unpack-$2" synced unpack_by_tar "$4 -dc $3" "sync -f $HOME/tree" ;;
        esac
    done
}

unpack_by_bryo() {
    inside sh -c "exec $2 $image unpack --archive 3 --root 4 3<$1 4<$tree"
}

# Device nodes are left out as Bryo does, and nobody could make them.
unpack_by_tar() { inside sh -c "$1 | tar -x --exclude=./dev/* -C $tree && $2"; }

# unpacked_in KIND: the most memory in kB that the unpacker used.
unpacked_in() {
    local from=${archive%.zst}.$1
    if [ "$1" = long ]; then from=$HOME/tree/long.tar.zst; fi
    tree=$HOME/tree/memory-$1
    inside mkdir "$tree"
    local peak
    peak=$(set -o pipefail && unpack_by_bryo "$from" "/usr/bin/time -f %M" 2>&1 >/dev/null | tail -n 1)
    echo "rss-$1 bryo $peak $?"
}

end_unpack() {
    inside sh -c "rm -r $HOME/tree/*-*"
    rm -r "$HOME/tree"
}

# The image is in the store and unpacked, as it is from the first container on. LXC copies what it has fetched each time: its
# template `local` is given the same archive, in the form that its server has.
begin_images() {
    "$bryo/bryo" image import "$archive" bench/1 && "$bryo/bryo" create debian bench/1 && "$bryo/bryo" destroy debian
} >/dev/null 2>&1

images() {
    sync -f "$HOME"
    timed create-image bryo "$bryo/bryo" create debian bench/1
    "$bryo/bryo" destroy debian
    timed run-image bryo "$bryo/bryo" run bench/1 -- true
    if [ "$1" -ge 5 ]; then return; fi
    sync -f "$HOME"
    timed create-image lxc lxc_create
    lxc-destroy -n debian
    timed run-image lxc lxc_run
}

lxc_create() {
    lxc-create -n debian -t local -- -m "${archive%.tar.zst}-meta.tar.xz" -f "${archive%.zst}.xz"
}

lxc_run() { lxc_create && lxc-execute -n debian -- true && lxc-destroy -n debian; }

end_images() {
    "$bryo/bryo" image rm bench/1 >/dev/null 2>&1
}

# A network namespace of the user's own, on descriptor 3, and pipes to the root of the lab (root.sh).
begin_network() {
    unshare -Urn sleep 3600 &
    space=$!
    trap 'kill $space' EXIT
    until grep -q sleep "/proc/$space/comm"; do sleep 0.01; done
    exec 3<"/proc/$space/ns/net" 7>/run/ask 8</run/said
    root grant 2
    for side in bryo lxc; do
        mkdir -p "veth/web-$side"
        {
            grep -v '^lxc.net' ".local/share/lxc/web-$side/config"
            printf 'lxc.net.0.%s\n' 'type = veth' 'link = lxcbr0' 'flags = up'
        } >"veth/web-$side/config"
    done
}

# root WORD...: has root do it, and prints what root says but for a note that all is well.
root() {
    echo "$@" >&7
    local said
    read -r said <&8
    if [ "$said" != "# $1: 0" ]; then echo "$said"; fi
}

# The pair of the last command is gone when the next side makes its own.
network() {
    for ((round = 0; round < 10; round++)); do
        for side in $(rotated "$round" bryo lxc ip); do
            case $side in
            bryo) timed netdev bryo "$netdev" 3 lxcbr0 eth0 ;;
            lxc) timed netdev lxc "$user_nic" create "$HOME" web "$space" veth lxcbr0 eth0 ;;
            ip) root pair "$space" ;;
            esac
            unplug
        done
    done
    for side in $(rotated "$1" bryo lxc); do
        sleep 0.3
        timed start-veth $side "${!side}/lxc-start" -P "$HOME/veth" -n web-$side
        "${!side}/lxc-stop" -P "$HOME/veth" -n web-$side -k
    done
}

unplug() { nsenter --preserve-credentials -U -n -t "$space" ip link del eth0; }

# A thousand slots of the user's are taken, by interfaces of root's with such names: one more than they are may be had, and
# then no more than they are.
begin_busy() {
    begin_network
    local made
    made=$("$netdev" 3 lxcbr0 eth0) || exit
    unplug
    root busy "${made:0:13}"
}

busy() {
    root grant 1001
    timed netdev-busy bryo "$netdev" 3 lxcbr0 eth0
    unplug
    root grant 1000
    timed netdev-full bryo full
}

full() {
    "$netdev" 3 lxcbr0 eth0
    [ $? = 3 ]
}

end_busy() { root free; }

# inside COMMAND...: as root of a user namespace with the container's id map.
inside() { lxc-usernsexec -m "u:0:$uid_start:65536" -m "g:0:$gid_start:65536" -- "$@"; }

what=$1 runs=$2 uid_start=$3 gid_start=$4
cd "$HOME" || exit
if [ "$(type -t "begin_$what")" ]; then "begin_$what"; fi
for ((run = 0; run < runs; run++)); do "$what" "$run"; done
if [ "$(type -t "end_$what")" ]; then "end_$what"; fi
