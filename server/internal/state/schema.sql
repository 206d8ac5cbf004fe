-- The state of the installation. Times are nanoseconds since 1970 UTC, 0 for none; *_json columns hold a domain value
-- as encoding/json writes it; revision is the Raft index of the last change of the row. Every table with a tenant_id
-- is read through a scope. This is the schema of level 1, for good: a change is a migration of a new level in level.go.

CREATE TABLE meta (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  applied  INTEGER NOT NULL DEFAULT 0,  -- the last Raft index that is in here
  next_uid INTEGER NOT NULL DEFAULT 0, -- of the next app's system user; set by the first command
  next_seq INTEGER NOT NULL DEFAULT 1
) STRICT;
INSERT INTO meta (id) VALUES (1);

CREATE TABLE cluster (
  id              TEXT NOT NULL PRIMARY KEY,
  claimed         INTEGER NOT NULL,
  setup_hash      BLOB NOT NULL,
  server_root     BLOB NOT NULL,
  server_root_key BLOB NOT NULL,
  agent_root      BLOB NOT NULL,
  agent_root_key  BLOB NOT NULL,
  first_uid       INTEGER NOT NULL,
  revision        INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
  id         TEXT NOT NULL PRIMARY KEY,
  name       TEXT NOT NULL,
  plan       TEXT NOT NULL,
  status     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revision   INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  email         TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  role          TEXT NOT NULL,
  status        TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  revision      INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
  id         TEXT NOT NULL PRIMARY KEY,
  tenant_id  TEXT NOT NULL,
  user_id    TEXT NOT NULL,
  token_hash BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revision   INTEGER NOT NULL
) STRICT;

-- The control servers. They belong to the installation, not to a tenant.
CREATE TABLE servers (
  id             TEXT NOT NULL PRIMARY KEY,
  name           TEXT NOT NULL UNIQUE,
  peer_address   TEXT NOT NULL,
  addresses_json TEXT NOT NULL,
  version        TEXT NOT NULL,
  level          INTEGER NOT NULL,
  replaces       TEXT NOT NULL,  -- the server that leaves once this one votes
  created_at     INTEGER NOT NULL,
  revision       INTEGER NOT NULL
) STRICT;

CREATE TABLE server_tokens (
  id          TEXT NOT NULL PRIMARY KEY,
  secret_hash BLOB NOT NULL,
  name        TEXT NOT NULL,
  replaces    TEXT NOT NULL,
  expires_at  INTEGER NOT NULL,
  created_by  TEXT NOT NULL,
  audit_in    TEXT NOT NULL,  -- the tenant whose audit log tells of its use
  used_by     TEXT NOT NULL,
  revision    INTEGER NOT NULL
) STRICT;

CREATE TABLE join_tokens (
  id          TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  secret_hash BLOB NOT NULL,
  node_name   TEXT NOT NULL,
  labels_json TEXT NOT NULL,
  node_id     TEXT NOT NULL,
  expires_at  INTEGER NOT NULL,
  created_by  TEXT NOT NULL,
  used_by     BLOB NOT NULL,
  revision    INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
  id           TEXT NOT NULL PRIMARY KEY,
  tenant_id    TEXT NOT NULL,
  name         TEXT NOT NULL,
  labels_json  TEXT NOT NULL,
  status       TEXT NOT NULL,
  status_since INTEGER NOT NULL,
  draining     INTEGER NOT NULL,
  spki         BLOB NOT NULL,
  generation   INTEGER NOT NULL,
  facts        BLOB NOT NULL,
  created_at   INTEGER NOT NULL,
  revision     INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX nodes_revision ON nodes (revision);

CREATE TABLE applications (
  id                TEXT NOT NULL PRIMARY KEY,
  tenant_id         TEXT NOT NULL,
  slug              TEXT NOT NULL UNIQUE,
  uid               INTEGER NOT NULL UNIQUE,
  settings_json     TEXT NOT NULL,
  status            TEXT NOT NULL,
  current_release   TEXT NOT NULL,
  active_deployment TEXT NOT NULL,
  deploy_key        TEXT NOT NULL,
  deploy_key_sealed BLOB NOT NULL,
  last_build        INTEGER NOT NULL,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  revision          INTEGER NOT NULL
) STRICT;

-- Which app is on which node, from the settings.
CREATE TABLE application_nodes (
  app_id    TEXT NOT NULL,
  node_id   TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  PRIMARY KEY (app_id, node_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX application_nodes_node ON application_nodes (node_id);

CREATE TABLE application_env (
  app_id     TEXT NOT NULL,
  name       TEXT NOT NULL,
  tenant_id  TEXT NOT NULL,
  sealed     BLOB NOT NULL,
  updated_at INTEGER NOT NULL,
  revision   INTEGER NOT NULL,
  PRIMARY KEY (app_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE builds (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  app_id        TEXT NOT NULL,
  number        INTEGER NOT NULL,
  status        TEXT NOT NULL,
  ref           TEXT NOT NULL,
  artifact_json TEXT NOT NULL,
  task_id       TEXT NOT NULL,
  triggered_by  TEXT NOT NULL,
  error         TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  started_at    INTEGER NOT NULL,
  finished_at   INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  UNIQUE (app_id, number)
) STRICT;

CREATE TABLE releases (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  app_id        TEXT NOT NULL,
  name          TEXT NOT NULL,
  build_id      TEXT NOT NULL,
  artifact_json TEXT NOT NULL,
  status        TEXT NOT NULL,
  pinned        INTEGER NOT NULL,
  reason        TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  live_at       INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  UNIQUE (app_id, name)
) STRICT;
CREATE INDEX releases_created ON releases (app_id, created_at, id);

CREATE TABLE deployments (
  id               TEXT NOT NULL PRIMARY KEY,
  tenant_id        TEXT NOT NULL,
  app_id           TEXT NOT NULL,
  state            TEXT NOT NULL,
  ended            INTEGER NOT NULL,  -- of the state, for the index of those under way
  rollback         INTEGER NOT NULL,
  allow_bad        INTEGER NOT NULL,
  build_id         TEXT NOT NULL,
  release_id       TEXT NOT NULL,
  previous_release TEXT NOT NULL,
  nodes_json       TEXT NOT NULL,
  phases_json      TEXT NOT NULL,
  error            TEXT NOT NULL,
  cancelling       INTEGER NOT NULL,
  created_by       TEXT NOT NULL,
  created_at       INTEGER NOT NULL,
  finished_at      INTEGER NOT NULL,
  live_at          INTEGER NOT NULL,
  settings_json    TEXT NOT NULL,
  revision         INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_created ON deployments (app_id, created_at, id);
CREATE INDEX deployments_active ON deployments (created_at, id) WHERE ended = 0;

CREATE TABLE tasks (
  id              TEXT NOT NULL PRIMARY KEY,
  tenant_id       TEXT NOT NULL,
  kind            TEXT NOT NULL,
  state           TEXT NOT NULL,
  node_id         TEXT NOT NULL,
  candidates_json TEXT NOT NULL,
  app_id          TEXT NOT NULL,
  deployment_id   TEXT NOT NULL,
  build_id        TEXT NOT NULL,
  spec            BLOB NOT NULL,
  resource        TEXT NOT NULL,
  attempt         INTEGER NOT NULL,
  max_attempts    INTEGER NOT NULL,
  fence           INTEGER NOT NULL,
  priority        INTEGER NOT NULL,
  not_before      INTEGER NOT NULL,
  timeout         INTEGER NOT NULL,  -- nanoseconds
  deadline        INTEGER NOT NULL,
  on_lost         TEXT NOT NULL,
  waiting         TEXT NOT NULL,
  phase           TEXT NOT NULL,
  percent         INTEGER NOT NULL,
  error           TEXT NOT NULL,
  cancelling      INTEGER NOT NULL,
  result          BLOB NOT NULL,
  created_at      INTEGER NOT NULL,
  started_at      INTEGER NOT NULL,
  finished_at     INTEGER NOT NULL,
  revision        INTEGER NOT NULL
) STRICT;
CREATE INDEX tasks_queued ON tasks (priority, created_at, id) WHERE state = 'queued';
CREATE INDEX tasks_held ON tasks (node_id) WHERE state IN ('leased', 'running');
CREATE INDEX tasks_deployment ON tasks (deployment_id) WHERE deployment_id <> '';
CREATE INDEX tasks_app ON tasks (app_id, created_at, id);
CREATE INDEX tasks_created ON tasks (created_at, id);
CREATE INDEX tasks_revision ON tasks (revision);

CREATE TABLE audit_logs (
  seq        INTEGER PRIMARY KEY,
  tenant_id  TEXT NOT NULL,
  at         INTEGER NOT NULL,
  actor_json TEXT NOT NULL,
  action     TEXT NOT NULL,
  object     TEXT NOT NULL,
  detail     TEXT NOT NULL,
  request_id TEXT NOT NULL
) STRICT;
CREATE INDEX audit_logs_tenant ON audit_logs (tenant_id, seq);

CREATE TABLE request_ids (
  tenant_id  TEXT NOT NULL,
  request_id TEXT NOT NULL,
  at         INTEGER NOT NULL,
  revision   INTEGER NOT NULL,
  object     TEXT NOT NULL,
  fault_json TEXT NOT NULL,  -- the refusal, empty for none
  PRIMARY KEY (tenant_id, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_ids_at ON request_ids (at);
