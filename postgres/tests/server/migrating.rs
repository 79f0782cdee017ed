//! The schema is made and checked.

use bunq_partner_postgres::Database;

use crate::common::TestDatabase;

/// The versions that were applied.
fn versions(test: &TestDatabase) -> String {
    test.sql("SELECT string_agg(version::text, ' ' ORDER BY version) FROM bunq_partner.schema_version")
}

#[tokio::test]
async fn several_processes_may_migrate_at_once_and_again() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    let migrations: Vec<_> = (0..4).map(|_| tokio::spawn(Database::migrate(test.owner_url()))).collect();
    let mut begun_at = Vec::new();
    for migration in migrations {
        begun_at.push(migration.await.unwrap().unwrap().from);
    }
    begun_at.sort_unstable();
    assert_eq!(begun_at, [0, 6, 6, 6]);
    let again = Database::migrate(test.owner_url()).await.unwrap();
    assert_eq!((again.from, again.to), (6, 6));
    assert_eq!(versions(&test), "1 2 3 4 5 6");
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_used_if_that_says_so() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let newer = |oldest| {
        test.sql(&format!(
            "INSERT INTO bunq_partner.schema_version VALUES (98, {oldest}, now(), 'a newer version')
             ON CONFLICT (version) DO UPDATE SET oldest_reader = excluded.oldest_reader"
        ))
    };
    newer(1);
    Database::migrate(test.owner_url()).await.unwrap();
    test.connect().await;
    newer(97);
    for error in
        [Database::migrate(test.owner_url()).await.unwrap_err(), Database::connect(test.url()).await.unwrap_err()]
    {
        let expected = "has version 98 of the schema, which needs a version of bunq-partner-postgres that knows version 97: this one knows 6";
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    assert_eq!(versions(&test), "1 2 3 4 5 6 98");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    test.sql("CREATE SCHEMA bunq_partner; CREATE TABLE bunq_partner.lock ()");
    let error = Database::migrate(test.owner_url()).await.unwrap_err().to_string();
    assert!(error.contains("relation \"lock\" already exists"), "{error}");
    assert_eq!(
        test.sql("SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'bunq_partner'::regnamespace"),
        "lock"
    );
}

#[tokio::test]
async fn a_schema_that_is_there_needs_no_right_to_create_one() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    let error = Database::migrate(test.url()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("permission denied for database {}, SQLSTATE 42501", test.name)), "{error}");
    test.sql(&format!("CREATE SCHEMA bunq_partner AUTHORIZATION {}", test.name));
    Database::migrate(test.url()).await.unwrap();
    test.connect().await;
}

#[tokio::test]
async fn one_role_owns_the_schema_and_grants_what_it_makes() {
    test_timeout::start();
    let Some(test) = TestDatabase::empty() else { return };
    test.sql(&format!("CREATE SCHEMA bunq_partner AUTHORIZATION {}", test.name));
    let error = Database::migrate(test.owner_url()).await.unwrap_err().to_string();
    let expected = format!("has a schema bunq_partner that the role {} owns: migrate it as that role", test.name);
    assert!(error.ends_with(&expected), "{error}");
    Database::migrate(test.url()).await.unwrap();
    // A superuser grants the rights, also those on what the owner makes later.
    test.grant();
    test.sql(&format!("SET ROLE {}; CREATE TABLE bunq_partner.later ()", test.name));
    let is_granted = "SELECT has_table_privilege('bunq_partner_service', 'bunq_partner.later', 'INSERT')";
    assert_eq!(test.sql(is_granted), "t");
}
