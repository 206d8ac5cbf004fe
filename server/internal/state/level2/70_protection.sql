-- What deployments to an environment need before they switch, and who has approved them.
CREATE TABLE protections (
  tenant_id               TEXT NOT NULL,
  environment             TEXT NOT NULL,
  require_approval        INTEGER NOT NULL,
  approvals               INTEGER NOT NULL,
  rollback_needs_approval INTEGER NOT NULL,
  freezes_json            TEXT NOT NULL,
  updated_by              TEXT NOT NULL,
  updated_at              INTEGER NOT NULL,
  revision                INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, environment)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployment_approvals (
  deployment_id TEXT NOT NULL,
  user_id       TEXT NOT NULL,
  tenant_id     TEXT NOT NULL,
  app_id        TEXT NOT NULL,
  name          TEXT NOT NULL,
  token_id      TEXT NOT NULL,
  at            INTEGER NOT NULL,
  comment       TEXT NOT NULL,
  what          TEXT NOT NULL,
  revision      INTEGER NOT NULL,
  PRIMARY KEY (deployment_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployment_approvals_app ON deployment_approvals (app_id);

ALTER TABLE deployments ADD COLUMN waiting TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN asked_by TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN approval_asked_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN override_json TEXT NOT NULL DEFAULT '{}';
