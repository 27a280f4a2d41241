# The inside of a lab. Runs as root in fresh mount and network namespaces, under `sh -eu`.
# Arguments: the run directory, the view, the cache of root file systems, the prefix or "", and UID:GID per user.
run=$1 view=$2 cache=$3 prefix=$4
shift 4

mount -t tmpfs -o mode=755 bryo-lab "$run"
mkdir "$run/cgroup" "$run/dev" "$run/prefix" "$run/rootfs" "$run/runtime"
mount --bind -o ro "$cache" "$run/rootfs"
if [ -n "$prefix" ]; then mount --bind "$prefix" "$run/prefix"; fi
for user; do
    mkdir -m 700 "$run/runtime/${user%:*}"
    chown "$user" "$run/runtime/${user%:*}"
done

# A sysfs of this network namespace: the kernel lets a container mount its own only where a whole one is visible.
mount --move /sys/fs/cgroup "$run/cgroup"
mount -t sysfs sysfs /sys
if [ "$view" = unified ]; then
    umount --lazy "$run/cgroup"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount --move "$run/cgroup" /sys/fs/cgroup
fi

# Distributions give these two to everybody; build machines often do not.
for node in /dev/fuse /dev/net/tun; do
    if [ -e "$node" ]; then
        private=$run/dev/${node##*/}
        cp -a "$node" "$private"
        chmod 666 "$private"
        mount --bind "$private" "$node"
    fi
done

ip link set lo up
ip link add lxcbr0 type bridge
ip address add 10.0.3.1/24 dev lxcbr0
ip link set lxcbr0 up

echo ready
exec cat >/dev/null
