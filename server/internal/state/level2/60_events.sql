-- What people want to hear of, what they have read of it, and the ways it reaches those who are not looking.
CREATE TABLE system_events (
  id          TEXT NOT NULL PRIMARY KEY,  -- in the order in which they happened
  tenant_id   TEXT NOT NULL,              -- empty: of the installation
  severity    INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  object_kind TEXT NOT NULL,
  object_id   TEXT NOT NULL,
  app_id      TEXT NOT NULL,
  title       TEXT NOT NULL,
  data_json   TEXT NOT NULL,
  key         TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  last_at     INTEGER NOT NULL,
  count       INTEGER NOT NULL,
  revision    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX system_events_tenant ON system_events (tenant_id, id);
CREATE INDEX system_events_key ON system_events (tenant_id, key, id) WHERE key <> '';
CREATE INDEX system_events_object ON system_events (object_id, id);
CREATE INDEX system_events_revision ON system_events (revision);

CREATE TABLE event_reads (
  user_id     TEXT NOT NULL PRIMARY KEY,
  tenant_id   TEXT NOT NULL,
  up_to       TEXT NOT NULL,
  others_json TEXT NOT NULL,
  revision    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE channels (
  id            TEXT NOT NULL PRIMARY KEY,
  tenant_id     TEXT NOT NULL,
  kind          TEXT NOT NULL,
  name          TEXT NOT NULL,
  address       TEXT NOT NULL,
  target        TEXT NOT NULL,
  secret_sealed BLOB NOT NULL,
  rules_json    TEXT NOT NULL,
  disabled      INTEGER NOT NULL,
  installation  INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
  id         TEXT NOT NULL PRIMARY KEY,  -- in the order in which they came to be
  tenant_id  TEXT NOT NULL,
  channel_id TEXT NOT NULL,
  app_id     TEXT NOT NULL,              -- of the event, like key
  key        TEXT NOT NULL,
  event_json TEXT NOT NULL,
  more       INTEGER NOT NULL,
  state      TEXT NOT NULL,
  attempts   INTEGER NOT NULL,
  error      TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  due_at     INTEGER NOT NULL,
  next_at    INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_channel ON deliveries (channel_id, id);
CREATE INDEX deliveries_key ON deliveries (channel_id, key, id) WHERE key <> '';
CREATE INDEX deliveries_queued ON deliveries (channel_id, next_at, id) WHERE state = 'queued';
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE state <> 'queued';
