# The inside of a lab. Runs as root in fresh mount and network namespaces, under `sh -eu`.
# Arguments: the run directory, the view, the directory of homes, the cache of root file systems, the prefix or "", and
# UID:GID per user.
run=$1 view=$2 homes=$3 cache=$4 prefix=$5
shift 5

mount -t tmpfs -o mode=755 bryo-lab "$run"
mkdir "$run/cgroup" "$run/dev" "$run/etc-lxc" "$run/home" "$run/prefix" "$run/rootfs" "$run/runtime"
mount --bind -o ro "$cache" "$run/rootfs"
if [ -n "$prefix" ]; then mount --bind "$prefix" "$run/prefix"; fi
for user; do
    mkdir -m 700 "$run/runtime/${user%:*}"
    chown "$user" "$run/runtime/${user%:*}"
done

# A sysfs of this network namespace: the kernel lets a container mount its own only where a whole one is visible.
mount --move /sys/fs/cgroup "$run/cgroup"
mount -t sysfs sysfs /sys
if [ "$view" = hybrid ]; then
    mount --move "$run/cgroup" /sys/fs/cgroup
else
    umount --lazy "$run/cgroup"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

ip link set lo up
ip link add lxcbr0 type bridge
ip address add 10.0.3.1/24 dev lxcbr0
ip link set lxcbr0 up

# What programs for networks in user mode take for the way out; behind it is nothing.
ip link add uplink type veth peer name nowhere
ip address add 192.0.2.2/24 dev uplink
ip link set uplink up
ip link set nowhere up
ip route add default via 192.0.2.1

# The administrator's files, for tests to write.
mkdir -p /etc/lxc
cp -a /etc/lxc/. "$run/etc-lxc"
rm -f "$run/etc-lxc/lxc-usernet"
mount --bind "$run/etc-lxc" /etc/lxc

# Distributions give these two to everybody; build machines often do not.
devices_of_a_machine() {
    for node in /dev/fuse /dev/net/tun; do
        if [ -e "$node" ]; then
            private=$run/dev/${node##*/}
            cp -a "$node" "$private"
            chmod 666 "$private"
            mount --bind "$private" "$node"
        fi
    done
}

# The few that a container of a common engine has.
devices_of_a_cell() {
    mount -t tmpfs -o mode=755 tmpfs "$run/dev"
    for node in null zero full random urandom tty; do
        touch "$run/dev/$node"
        mount --bind "/dev/$node" "$run/dev/$node"
    done
    mkdir "$run/dev/pts" "$run/dev/shm" "$run/dev/mqueue"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$run/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$run/dev/shm"
    mount -t mqueue mqueue "$run/dev/mqueue"
    ln -s pts/ptmx "$run/dev/ptmx"
    ln -s /proc/self/fd "$run/dev/fd"
    for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "$run/dev/${stream#*:}"; done
    mount --rbind "$run/dev" /dev
}

# What such engines hide, and what they let be read alone.
mask() {
    for path; do
        if [ -d "$path" ]; then
            mount -t tmpfs -o ro,nr_inodes=2 tmpfs "$path"
        elif [ -e "$path" ]; then
            mount --bind /dev/null "$path"
        fi
    done
}
read_only() {
    for path; do
        if [ -e "$path" ]; then
            mount --bind "$path" "$path"
            mount -o remount,bind,ro "$path"
        fi
    done
}

case $view in
*cell)
    devices_of_a_cell
    mask /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi \
        /proc/timer_list /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap /run/dbus /run/user
    read_only /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger
    mount -o remount,bind,ro /sys
    mount -o remount,bind,ro /sys/fs/cgroup
    mkdir "$run/home/lower" "$run/home/upper" "$run/home/work"
    mkdir -p "$homes"
    mount -t overlay -o "lowerdir=$run/home/lower,upperdir=$run/home/upper,workdir=$run/home/work" overlay "$homes"
    ;;
*) devices_of_a_machine ;;
esac

echo ready
exec cat >/dev/null
