# The words of the suite's stories, which are scripts of bash. Each story runs as root, in namespaces of its own: "the host" is
# a network namespace with nothing but a loopback device, and /etc, /run, /var/lib and /tmp are the story's. What it starts ends
# with it.
#
# | word | does |
# |---|---|
# | `bryo ...` | runs Bryo as root of that host |
# | `user WHO CMD` | runs a command as ana or bob |
# | `box WHO [BRIDGE]` | makes namespaces of that user's, with a device on lxcbr0 or another; its process is $REPLY |
# | `inside WHO PID CMD` | runs a command as root of the namespaces of a process |
# | `lease WHO PID NAME` | asks for an address by DHCP |
# | `await CMD` | runs a command until it succeeds, for half a minute |
# | `ip_of`, `ip6_of`, `mac_of WHO PID` | print addresses of eth0 |
# | `port_of PID` | prints the name of the host's end |
# | `world` | makes a network beside the host, of which the host is a part |
set -u
prefix=$1
mount -t tmpfs own /mnt
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
# The programs under test lie below /run.
mkdir /mnt/prefix
cp -a "$prefix/bin" "$prefix/libexec" /mnt/prefix/
for directory in /run /var/lib /tmp; do mount -t tmpfs -o mode=1777 own $directory; done
chmod 755 /mnt
printf 'ana:x:61001:61001::/tmp:/bin/sh\nbob:x:61002:61002::/tmp:/bin/sh\n' >>/etc/passwd
printf 'ana:x:61001:\nbob:x:61002:\nstaff2:x:61500:\n' >>/etc/group
rm -f /etc/default/lxc /etc/default/lxc-net
mkdir -p /etc/lxc
printf 'ana veth lxcbr0 3\nbob veth lxcbr0 3\n' >/etc/lxc/lxc-usernet
chmod 644 /etc/lxc/lxc-usernet
export HOME=/tmp LC_ALL=C
cd /
ip link set lo up

cat >/mnt/lease <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
SCRIPT
chmod 755 /mnt/lease

bryo() { /mnt/prefix/bin/bryo "$@"; }
id_of() { case $1 in ana) echo 61001 ;; bob) echo 61002 ;; esac; }
user() {
    local id
    id=$(id_of $1)
    shift
    setpriv --reuid $id --regid $id --clear-groups "$@"
}
space() {
    local id
    id=$(id_of $1)
    setpriv --reuid $id --regid $id --clear-groups unshare -Urnm --propagation private sleep 600 &
    REPLY=$!
    until grep -q sleep /proc/$REPLY/comm; do sleep 0.01; done
}
inside() {
    local who=$1 pid=$2
    shift 2
    user $who nsenter --preserve-credentials -U -n -m -t $pid "$@"
}
box() {
    space $1
    user $1 /mnt/prefix/libexec/bryo/bryo-netdev 3 ${2:-lxcbr0} eth0 3</proc/$REPLY/ns/net >/dev/null || exit 1
    inside $1 $REPLY ip link set lo up
    inside $1 $REPLY ip link set eth0 up
}
lease() { inside $1 $2 busybox udhcpc -i eth0 -n -q -f -t ${4:-40} -T 2 -x hostname:$3 -s /mnt/lease >/dev/null 2>&1; }
await() {
    local deadline=$((SECONDS + 90))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}
ip_of() { inside $1 $2 ip -4 -o address show dev eth0 | awk '{ sub("/.*", "", $4); print $4 }'; }
ip6_of() { inside $1 $2 ip -6 -o address show dev eth0 scope global | awk '{ sub("/.*", "", $4); print $4 }'; }
has_ip6() { [ -n "$(ip6_of $1 $2)" ]; }
mac_of() { inside $1 $2 ip -o link show dev eth0 | sed 's/.*ether //; s/ .*//'; }
port_of() { ip -o link show master lxcbr0 | grep "netns=$(stat -Lc %i /proc/$1/ns/net) " | sed 's/^[0-9]*: //; s/[@:].*//'; }
pings() { busybox ping -c 1 -W 2 "$1" >/dev/null; }
pings_from() { inside $1 $2 busybox ping -c 1 -W 2 "$3" >/dev/null; }
# Counts the frames that arrive in a container and match, whoever they are for: what a raw socket there would see.
listen() { inside $1 $2 nft "table netdev seen { chain in { type filter hook ingress device eth0 priority 0; $3 counter; }; }"; }
heard() { inside $1 $2 nft list table netdev seen | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
world() {
    unshare --net sleep 600 &
    WORLD=$!
    until [ "$(stat -Lc %i /proc/$WORLD/ns/net)" != "$(stat -Lc %i /proc/self/ns/net)" ]; do sleep 0.01; done
    ip link add up0 type veth peer name eth0 netns $WORLD
    ip address add 192.0.2.1/24 dev up0
    ip link set up0 up
    nsenter -n -t $WORLD ip address add 192.0.2.2/24 dev eth0
    nsenter -n -t $WORLD ip link set eth0 up
}
say() { echo "$1=${*:2}"; }
