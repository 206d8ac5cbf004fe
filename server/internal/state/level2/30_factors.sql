-- What proves who somebody is, besides a password, and where they have proved it.
ALTER TABLE users ADD COLUMN has_factor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN networks_json TEXT NOT NULL DEFAULT '[]';

ALTER TABLE sessions ADD COLUMN seen_from TEXT NOT NULL DEFAULT '';

CREATE TABLE factors (
  id              TEXT NOT NULL PRIMARY KEY,
  tenant_id       TEXT NOT NULL,
  user_id         TEXT NOT NULL,
  kind            TEXT NOT NULL,
  name            TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  seen_at         INTEGER NOT NULL,
  secret          BLOB NOT NULL,
  step            INTEGER NOT NULL,
  credential_id   BLOB NOT NULL,
  credential      BLOB NOT NULL,
  sign_count      INTEGER NOT NULL,
  challenges_json TEXT NOT NULL,
  revision        INTEGER NOT NULL
) STRICT;
CREATE INDEX factors_user ON factors (user_id, created_at, id);
CREATE INDEX factors_credential ON factors (credential_id);

CREATE TABLE recovery_codes (
  user_id   TEXT NOT NULL,
  hash      BLOB NOT NULL,
  tenant_id TEXT NOT NULL,
  revision  INTEGER NOT NULL,
  PRIMARY KEY (user_id, hash)
) STRICT, WITHOUT ROWID;
