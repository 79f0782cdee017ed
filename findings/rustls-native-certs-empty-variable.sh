#!/usr/bin/env bash
# rustls-native-certs 0.8.5: an empty SSL_CERT_DIR is as good as unset, but an empty SSL_CERT_FILE is taken for a file. Then no certificate
# is loaded, those of the system neither.
#
# Seen: certificates with both unset and with an empty SSL_CERT_DIR; none, and an error, with an empty SSL_CERT_FILE. It needs a system
# that has certificates.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'END'
[package]
name = "store"
edition = "2021"

[dependencies]
rustls-native-certs = "=0.8.5"
END
cat > "$folder/src/main.rs" <<'END'
fn main() {
    let found = rustls_native_certs::load_native_certs();
    println!("some: {}, errors: {}", !found.certs.is_empty(), found.errors.len());
}
END
cargo build --quiet --manifest-path "$folder/Cargo.toml"
store() { env -u SSL_CERT_FILE -u SSL_CERT_DIR "$@" "$folder/target/debug/store"; }
seen=$(store; store SSL_CERT_DIR=; store SSL_CERT_FILE=)
echo "$seen"
[ "$seen" = 'some: true, errors: 0
some: true, errors: 0
some: false, errors: 1' ]
