# Makes an archive of the packages of a small Debian 12 with systemd in directory $1. Runs as root, under `sh -eu`.
out=$1
export TMPDIR="$out" LC_ALL=C
arch=$(dpkg --print-architecture)
index=dists/bookworm/main/binary-$arch
mkdir -p "$out/packages/pool" "$out/packages/$index"
unshare --mount --propagation private \
    mmdebstrap --quiet --variant=minbase --format=null \
    --include=systemd-sysv,dbus,iproute2,netbase,systemd-resolved \
    --extract-hook="cp \"\$1\"/var/cache/apt/archives/*.deb $out/packages/pool" \
    --customize-hook="cp \"\$1\"/var/cache/apt/archives/*.deb $out/packages/pool" bookworm /dev/null

(cd "$out/packages/pool" && apt-get --quiet download busybox-static)

cd "$out/packages"
for deb in pool/*.deb; do
    # What apt writes for the colon of an epoch would be one in an address.
    plain=$(echo "$deb" | sed 's/%3a/_/')
    [ "$deb" = "$plain" ] || mv "$deb" "$plain"
    sum=$(sha256sum "$plain")
    dpkg-deb --field "$plain"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$plain" "$(stat -c %s "$plain")" "${sum%% *}"
done >"$index/Packages"
sum=$(sha256sum "$index/Packages")
cat >dists/bookworm/Release <<END
Origin: Debian
Suite: bookworm
Codename: bookworm
Date: $(date -u '+%a, %d %b %Y %H:%M:%S UTC')
Architectures: $arch
Components: main
SHA256:
 ${sum%% *} $(stat -c %s "$index/Packages") main/binary-$arch/Packages
END
chmod -R a+rX .
