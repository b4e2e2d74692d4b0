-- The object store, format 1. What lies in files is only found through rows: a file without a row is nothing, and is
-- deleted at the next start.

CREATE TABLE buckets (
    scope   TEXT NOT NULL,
    name    TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
-- As in S3, a name is taken in all regions and accounts of the partition at once.
CREATE UNIQUE INDEX bucket_names ON buckets (name);

-- Keys are compared byte by byte, as S3 orders UTF-8.
CREATE TABLE objects (
    scope       TEXT NOT NULL,
    bucket      TEXT NOT NULL,
    key         BLOB NOT NULL,
    content     TEXT NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified    INTEGER NOT NULL,
    parts       INTEGER NOT NULL,
    checksum    TEXT,
    description TEXT NOT NULL,
    PRIMARY KEY (scope, bucket, key)
) WITHOUT ROWID;

CREATE TABLE uploads (
    scope       TEXT NOT NULL,
    bucket      TEXT NOT NULL,
    key         BLOB NOT NULL,
    id          TEXT NOT NULL,
    started     INTEGER NOT NULL,
    checksum    TEXT,
    description TEXT NOT NULL,
    PRIMARY KEY (scope, bucket, key, id)
) WITHOUT ROWID;

-- The pieces of an object's content, or of an upload that collects them: `owner` is `objects.content` or `uploads.id`.
-- An empty piece has no file.
CREATE TABLE segments (
    owner    TEXT NOT NULL,
    number   INTEGER NOT NULL,
    file     TEXT,
    size     INTEGER NOT NULL,
    etag     TEXT NOT NULL,
    modified INTEGER NOT NULL,
    checksum TEXT,
    PRIMARY KEY (owner, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX segment_files ON segments (file);
