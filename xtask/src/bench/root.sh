# Runs as root in a lab, under `sh -eu`, in a mount namespace that the measuring script has to itself. lxc-user-nic keeps its
# files in /run/lxc. What only root can do is done for who measures, who asks by one pipe and hears a line by another: the line
# of a measured command, or a note. It ends with who asks. The login name of who measures stands before it.
mount -t tmpfs -o mode=755 own /mnt
mkdir /mnt/bryo-lab /mnt/lxc
mount --rbind /run/bryo-lab /mnt/bryo-lab
mount --no-mtab --move /mnt /run
mkfifo -m 666 /run/ask /run/said

# A number in base 36 and two digits, as slots end in.
slots='
digits=0123456789abcdefghijklmnopqrstuvwxyz
slot() { echo "$1${digits:$(($2 / 36)):1}${digits:$(($2 % 36)):1}"; }
for ((n = 0; n < 1000; n += 2)); do
    echo "link add $(slot "$1" "$n") group 77 type veth peer name $(slot "$1" $((n + 1))) group 77"
done'

answer='
while read -r word value; do
    case $word in
    pair)
        begin=$EPOCHREALTIME
        ip link add vethbench master lxcbr0 up type veth peer name eth0 netns "$value" </dev/null >/dev/null
        status=$? end=$EPOCHREALTIME
        echo "netdev ip $((${end/./} - ${begin/./})) $status"
        continue
        ;;
    grant) echo "$login veth lxcbr0 $value" >/etc/lxc/lxc-usernet ;;
    busy) bash -c "$slots" slots "$value" | ip -batch - ;;
    free) ip link del group 77 ;;
    esac
    echo "# $word: $?"
done'
slots=$slots login=$login bash -c "$answer" </run/ask >/run/said 2>/dev/null &
