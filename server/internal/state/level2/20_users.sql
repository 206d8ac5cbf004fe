-- What is known of people, and who is invited.
ALTER TABLE users ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN email_verified_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN password_set_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN reset_at INTEGER NOT NULL DEFAULT 0;
UPDATE users SET password_set_at = created_at;
CREATE INDEX users_tenant ON users (tenant_id, email, id);
CREATE INDEX users_operator ON users (operator) WHERE operator = 1;

CREATE TABLE invitations (
  id          TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  email       TEXT NOT NULL,
  role        TEXT NOT NULL,
  operator    INTEGER NOT NULL,
  narrow_json TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  invited_by  TEXT NOT NULL,  -- id of a user or a token
  inviter     TEXT NOT NULL,
  mailed      INTEGER NOT NULL,
  revision    INTEGER NOT NULL,
  UNIQUE (tenant_id, email)
) STRICT;
CREATE INDEX invitations_by ON invitations (invited_by);
