-- Who there is, and what bounds them.
ALTER TABLE tenants ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN second_factor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN trashed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN status_before TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN max_apps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN max_databases INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN storage_bytes INTEGER NOT NULL DEFAULT 0;

-- Whoever managed the only tenant there was managed the installation: that stays so.
ALTER TABLE users ADD COLUMN operator INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN narrow_json TEXT NOT NULL DEFAULT '{}';
UPDATE users
SET operator = 1
WHERE role = 'admin' AND tenant_id = (SELECT id FROM tenants ORDER BY created_at, id LIMIT 1);

ALTER TABLE sessions ADD COLUMN fresh_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN second_factor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';
UPDATE sessions SET fresh_at = created_at, seen_at = created_at;
CREATE INDEX sessions_user ON sessions (user_id);

ALTER TABLE nodes ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;

CREATE TABLE tokens (
  id               TEXT NOT NULL PRIMARY KEY,
  tenant_id        TEXT NOT NULL,
  kind             TEXT NOT NULL,
  name             TEXT NOT NULL,
  user_id          TEXT NOT NULL,
  role             TEXT NOT NULL,
  permissions_json TEXT NOT NULL,
  narrow_json      TEXT NOT NULL,
  hash             BLOB NOT NULL UNIQUE,
  created_at       INTEGER NOT NULL,
  expires_at       INTEGER NOT NULL,
  seen_at          INTEGER NOT NULL,
  seen_from        TEXT NOT NULL,
  revision         INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_user ON tokens (user_id);
