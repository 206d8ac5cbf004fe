-- Where else people may sign in, and who they are there.
CREATE TABLE providers (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  name          TEXT NOT NULL,
  issuer        TEXT NOT NULL,
  client_id     TEXT NOT NULL,
  secret_sealed BLOB NOT NULL,
  scopes_json   TEXT NOT NULL,
  domains_json  TEXT NOT NULL,
  trust_factor  INTEGER NOT NULL,
  create_users  INTEGER NOT NULL,
  role          TEXT NOT NULL,
  disabled      INTEGER NOT NULL,
  operators     INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE provider_domains (
  domain      TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  provider_id TEXT NOT NULL,
  revision    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX provider_domains_provider ON provider_domains (provider_id);

CREATE TABLE identities (
  id           TEXT NOT NULL PRIMARY KEY,
  tenant_id    TEXT NOT NULL,
  provider_id  TEXT NOT NULL,
  subject      TEXT NOT NULL,
  user_id      TEXT NOT NULL,
  email        TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  seen_at      INTEGER NOT NULL,
  answers_json TEXT NOT NULL,
  revision     INTEGER NOT NULL,
  UNIQUE (provider_id, subject),
  UNIQUE (provider_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_tenant ON identities (tenant_id, id);
CREATE INDEX identities_user ON identities (user_id);
