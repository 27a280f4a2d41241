# Runs as the test user in a lab. Arguments: what to measure (life, lists or create), how often, and where the user's
# subordinate uids and gids begin. bash reads the clock without a process of its own, so a line
# `ROW SIDE MICROSECONDS STATUS` measures the command alone; a line with # is for people. The order of the sides rotates.
# Expects the containers web-bryo and web-lxc, and for life a bundle of crun's in ~/bundle.
bryo=/run/bryo-lab/prefix/bin
lxc=/usr/bin
archive=/run/bryo-lab/rootfs/debian-12.tar.zst

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
# next one begins, so that neither pays for the other.
create() {
    for side in $(rotated "$1" bryo tar); do
        sync -f "$HOME"
        case $side in
        bryo)
            timed create $side "$bryo/bryo" create debian "$archive"
            "$bryo/bryo" destroy debian
            ;;
        tar)
            mkdir -m 777 "$HOME/tree"
            inside mkdir "$HOME/tree/rootfs"
            # Bryo leaves device nodes out, and nobody could make them.
            timed create $side inside sh -c "zstd -dc $archive | tar -x --exclude=./dev/* -C $HOME/tree/rootfs"
            inside rm -r "$HOME/tree/rootfs"
            rmdir "$HOME/tree"
            ;;
        esac
    done
}

# inside COMMAND...: as root of a user namespace with the container's id map.
inside() { lxc-usernsexec -m "u:0:$uid_start:65536" -m "g:0:$gid_start:65536" -- "$@"; }

what=$1 runs=$2 uid_start=$3 gid_start=$4
if [ "$what" = life ]; then begin_life; fi
for ((run = 0; run < runs; run++)); do "$what" "$run"; done
