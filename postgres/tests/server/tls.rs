//! Whether the server is verified.

use std::io::Write as _;

use bunq_partner::ErrorKind;
use bunq_partner_postgres::Database;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::common::TestDatabase;

#[tokio::test]
async fn the_certificate_and_the_name_of_the_server_are_verified() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    test.server.write("server.key", &key.serialize_pem());
    test.server.write("server.crt", &certificate.pem());
    test.sql("ALTER SYSTEM SET ssl = on");
    test.sql("SELECT pg_reload_conf()");
    while test.sql("SHOW ssl") != "on" {
        tokio::task::yield_now().await;
    }
    let mut file = tempfile(&test);
    file.1.write_all(ca.pem().as_bytes()).unwrap();

    let of = |host: &str, more: &str| test.url().replace("127.0.0.1", host) + "?sslmode=verify-full" + more;
    let trusted = format!("&sslrootcert={}", file.0);
    Database::connect(of("localhost", &trusted)).await.unwrap();
    for (url, expected) in [
        (of("localhost", ""), "UnknownIssuer): see whether its certificate is for that host, and trusted"),
        (of("127.0.0.1", &trusted), "not valid for"),
        (of("localhost", "&sslrootcert=/missing"), "sslrootcert /missing: it cannot be read as PEM"),
        (of("localhost", "&sslrootcert=/dev/null"), "sslrootcert /dev/null: it has no certificate"),
    ] {
        let error = Database::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Context);
        assert!(error.to_string().contains(expected), "{error}");
    }
    std::fs::remove_file(file.0).unwrap();
}

/// A file for the test, which removes it.
fn tempfile(test: &TestDatabase) -> (String, std::fs::File) {
    let path = std::env::temp_dir().join(format!("{}.pem", test.name));
    (path.display().to_string(), std::fs::File::create_new(path).unwrap())
}
