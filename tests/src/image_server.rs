//! An image server: busybox's root file system as debian/13, by simplestreams, on loopback of the lab's own.

use crate::{Background, User};

/// Where it is.
pub const URL: &str = "http://127.0.0.1:8765";

/// Makes `www` in the user's home, and serves it.
const SERVE: &str = r#"mkdir -p www/streams/v1 www/images
cp /run/bryo-lab/rootfs/busybox.tar.xz www/images/root.tar.xz
printf 'architecture: x86_64\nproperties:\n  os: debian\n  description: a small one\n' >metadata.yaml
tar -cJf www/images/incus.tar.xz metadata.yaml
item() {
    sum=$(sha256sum www/images/$1) size=$(stat -c %s www/images/$1)
    printf '"%s": {"ftype": "%s", "path": "images/%s", "size": %s, "sha256": "%s"}' $1 $1 $1 $size ${sum%% *}
}
build='"os": "Debian", "release": "trixie", "aliases": "debian/13", "variant": "default", "arch": "'$(uname -m)'"'
items="$(item root.tar.xz), $(item incus.tar.xz)"
echo '{"products": {"a": {'$build', "versions": {"20261125_05:24": {"items": {'$items'}}}}}}' >www/streams/v1/images.json
echo '{"index": {"a": {"datatype": "image-downloads", "path": "streams/v1/images.json"}}}' >www/streams/v1/index.json
exec busybox httpd -f -p 127.0.0.1:8765 -h www"#;

/// Starts it as a user.
pub fn start(user: User<'_>) -> Background {
    user.sh(SERVE).background()
}

/// Makes it the one of a user's settings.
pub fn choose(user: User<'_>) {
    user.write(".config/bryo/config.toml", &format!("[image]\nserver = \"{URL}\"\n"));
}
