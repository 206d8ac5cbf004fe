-- The keys that seal values, as far as the installation knows them, and how far the change from one to the next is.
CREATE TABLE sealing_keys (
  id             TEXT NOT NULL PRIMARY KEY,
  status         TEXT NOT NULL,
  confirmed_json TEXT NOT NULL,  -- the servers that have it, or why not
  created_at     INTEGER NOT NULL,
  sealing_at     INTEGER NOT NULL,
  dropped_at     INTEGER NOT NULL,
  revision       INTEGER NOT NULL
) STRICT;

CREATE TABLE key_rotation (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  phase       TEXT NOT NULL,
  key_id      TEXT NOT NULL,
  started_at  INTEGER NOT NULL,
  started_by  TEXT NOT NULL,
  finished_at INTEGER NOT NULL,
  unreadable  INTEGER NOT NULL,
  revision    INTEGER NOT NULL
) STRICT;

-- Versions of variables. What an app has when this level comes is its first; 0 is a time without versions.
ALTER TABLE applications ADD COLUMN env_version INTEGER NOT NULL DEFAULT 0;
UPDATE applications SET env_version = 1;
ALTER TABLE releases ADD COLUMN env_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN env_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE application_env ADD COLUMN since INTEGER NOT NULL DEFAULT 1;
ALTER TABLE application_env ADD COLUMN set_by TEXT NOT NULL DEFAULT '';

-- Values that were replaced or removed: they were in the versions from since on, and in until no more.
CREATE TABLE application_env_past (
  app_id     TEXT NOT NULL,
  name       TEXT NOT NULL,
  since      INTEGER NOT NULL,
  until      INTEGER NOT NULL,
  tenant_id  TEXT NOT NULL,
  sealed     BLOB NOT NULL,
  updated_at INTEGER NOT NULL,
  set_by     TEXT NOT NULL,
  revision   INTEGER NOT NULL,
  PRIMARY KEY (app_id, name, since)
) STRICT, WITHOUT ROWID;

CREATE TABLE application_env_versions (
  app_id     TEXT NOT NULL,
  version    INTEGER NOT NULL,
  tenant_id  TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  restores   INTEGER NOT NULL,  -- the version whose values it has again; 0 for none
  revision   INTEGER NOT NULL,
  PRIMARY KEY (app_id, version)
) STRICT, WITHOUT ROWID;
INSERT INTO application_env_versions (app_id, version, tenant_id, created_at, created_by, restores, revision)
SELECT id, 1, tenant_id, updated_at, '', 0, revision
FROM applications;
