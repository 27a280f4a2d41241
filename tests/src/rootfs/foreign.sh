# Makes in directory $1 a directory foreign: Debian's busybox for another architecture than this machine's, what emulates that one,
# and the architecture's name. Nothing is installed. Runs as root, under `sh -eu`.
out=$1
export TMPDIR="$out" LC_ALL=C
case $(dpkg --print-architecture) in
    arm64) theirs=amd64 machine=x86_64 ;;
    *) theirs=arm64 machine=aarch64 ;;
esac
# Unpacked by who may read no directory of root's.
mkdir -p "$out/aside/lists/partial" "$out/aside/archives/partial" "$out/foreign"
chmod 755 "$out" "$out/aside"
cd "$out/aside"
aside() {
    apt-get --quiet --option APT::Architecture=$theirs --option APT::Architectures=$theirs --option APT::Sandbox::User=root \
        --option Dir::State::Lists="$out/aside/lists" --option Dir::State::Status=/dev/null --option Dir::Cache="$out/aside" "$@"
}
aside update
aside download busybox-static
apt-get --quiet --option APT::Sandbox::User=root download qemu-user-static
for deb in *.deb; do dpkg-deb --extract "$deb" tree; done
cp "tree/usr/bin/qemu-$machine-static" "$out/foreign/qemu"
cp tree/bin/busybox "$out/foreign/busybox"
echo $machine >"$out/foreign/machine"
cd "$out"
rm -r aside
chmod -R a+rX foreign
