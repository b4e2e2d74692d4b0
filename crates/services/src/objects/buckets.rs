//! Buckets.

use crate::objects::object::{Bucket, Removed, failed, none};
use crate::objects::{ObjectError, ObjectStore};
use lamplight_model::{AccountId, Scope, Timestamp};
use lamplight_store::StoreError;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

impl ObjectStore {
    /// Creates a bucket; the front door has checked its name.
    ///
    /// Fails with `BucketAlreadyOwnedByYou` or `BucketAlreadyExists`: as in S3, names are taken in all regions at once.
    pub async fn create_bucket(&self, scope: &Scope, name: &str) -> Result<Bucket, ObjectError> {
        let bucket = Bucket { scope: scope.clone(), name: name.to_owned(), created: (self.clock)() };
        self.database
            .write(move |connection| {
                if let Some(present) = find(connection, &bucket.name)? {
                    return Ok(Err(if present.scope.account == bucket.scope.account {
                        ObjectError::BucketAlreadyOwnedByYou
                    } else {
                        ObjectError::BucketAlreadyExists
                    }));
                }
                connection
                    .prepare_cached("INSERT INTO buckets (scope, name, created) VALUES (?1, ?2, ?3)")
                    .and_then(|mut statement| {
                        statement.execute(params![
                            bucket.scope.key(),
                            bucket.name,
                            bucket.created.as_millis()
                        ])
                    })
                    .map_err(failed("failed to create a bucket"))?;
                Ok(Ok(bucket))
            })
            .await?
    }

    /// The bucket of this name, in whichever region. Fails with `NoSuchBucket`.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, ObjectError> {
        let name = name.to_owned();
        self.database.read(move |connection| find(connection, &name)).await?.ok_or(ObjectError::NoSuchBucket)
    }

    /// The account's buckets in order of their names: those that begin with `prefix`, after `after`, at most `limit`.
    pub async fn list_buckets(
        &self,
        account: &AccountId,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Bucket>, ObjectError> {
        // Scopes of one account are those between these two texts: regions are of letters, digits and hyphens.
        let scopes = format!("{}/{}/", Scope::PARTITION, account.as_str());
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        let found = self.database.read(move |connection| {
            let doing = failed("failed to list buckets");
            let mut statement = connection
                .prepare_cached(
                    "SELECT scope, name, created FROM buckets WHERE scope > ?1 AND scope < ?1 || '~' \
                     AND name > ?2 AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4",
                )
                .map_err(&doing)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows =
                statement.query_map(params![scopes, after, prefix, limit], bucket_of).map_err(&doing)?;
            rows.collect::<Result<Vec<_>, _>>().map_err(&doing)
        });
        Ok(found.await?)
    }

    /// Deletes an empty bucket, and the uploads that were not completed with it.
    ///
    /// Fails with `NoSuchBucket`, `BucketNotEmpty`.
    pub async fn delete_bucket(&self, bucket: &Bucket) -> Result<(), ObjectError> {
        let (scope, name) = (bucket.scope.key(), bucket.name.clone());
        self.change(move |connection| {
            let doing = failed("failed to delete a bucket");
            let place = params![scope, name];
            let holds: Option<i64> = connection
                .prepare_cached("SELECT 1 FROM objects WHERE scope = ?1 AND bucket = ?2 LIMIT 1")
                .and_then(|mut statement| statement.query_row(place, |row| row.get(0)).optional())
                .map_err(&doing)?;
            if holds.is_some() {
                return Ok(Err(ObjectError::BucketNotEmpty));
            }
            let deleted = connection
                .prepare_cached("DELETE FROM buckets WHERE scope = ?1 AND name = ?2")
                .and_then(|mut statement| statement.execute(place))
                .map_err(&doing)?;
            if deleted == 0 {
                return Ok(Err(ObjectError::NoSuchBucket));
            }
            let mut removed = Removed::default();
            let uploads: Vec<String> = connection
                .prepare_cached("DELETE FROM uploads WHERE scope = ?1 AND bucket = ?2 RETURNING id")
                .and_then(|mut statement| statement.query_map(place, |row| row.get(0))?.collect())
                .map_err(&doing)?;
            for upload in uploads {
                removed.take(connection, &upload, none).map_err(&doing)?;
            }
            Ok(Ok(((), removed)))
        })
        .await
    }
}

/// Whether the bucket still is what the caller looked up.
pub(crate) fn exists(connection: &Connection, bucket: &Bucket) -> Result<bool, StoreError> {
    Ok(find(connection, &bucket.name)?.as_ref() == Some(bucket))
}

fn find(connection: &Connection, name: &str) -> Result<Option<Bucket>, StoreError> {
    connection
        .prepare_cached("SELECT scope, name, created FROM buckets WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], bucket_of).optional())
        .map_err(failed("failed to read a bucket"))
}

fn bucket_of(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    let key: String = row.get(0)?;
    let scope = Scope::from_key(&key).ok_or_else(|| {
        let why = format!("scope '{key}' cannot be read");
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, why.into())
    })?;
    Ok(Bucket { scope, name: row.get(1)?, created: Timestamp(row.get(2)?) })
}
