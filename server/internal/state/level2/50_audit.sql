-- The audit log: what was before and after, how much it matters, and the chain of hashes. What is there already has no
-- hash and stands before the chain.
ALTER TABLE audit_logs ADD COLUMN year INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_logs ADD COLUMN severity TEXT NOT NULL DEFAULT 'info';
ALTER TABLE audit_logs ADD COLUMN outcome TEXT NOT NULL DEFAULT 'done';
ALTER TABLE audit_logs ADD COLUMN before_json TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_logs ADD COLUMN after_json TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_logs ADD COLUMN form INTEGER NOT NULL DEFAULT 0; -- of the hash
ALTER TABLE audit_logs ADD COLUMN previous BLOB NOT NULL DEFAULT x''; -- the hash before it
ALTER TABLE audit_logs ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
-- Years never go back, whatever clocks did.
UPDATE audit_logs
SET year = y.year
FROM (SELECT seq, MAX(CAST(strftime('%Y', at / 1000000000, 'unixepoch') AS INTEGER)) OVER (ORDER BY seq) AS year FROM audit_logs) AS y
WHERE y.seq = audit_logs.seq;
UPDATE audit_logs SET outcome = 'refused', severity = 'warning' WHERE detail LIKE '{"refused":%';

CREATE TABLE audit_years (
  year        INTEGER PRIMARY KEY,
  first_seq   INTEGER NOT NULL,
  last_seq    INTEGER NOT NULL,
  entries     INTEGER NOT NULL,
  previous    BLOB NOT NULL,    -- the hash before its first entry
  head        BLOB NOT NULL,    -- the hash of its last entry
  digest      TEXT NOT NULL,    -- of the archive, empty while its entries are here
  bytes       INTEGER NOT NULL, -- of the archive
  archived_at INTEGER NOT NULL
) STRICT;
INSERT INTO audit_years
SELECT year, MIN(seq), MAX(seq), COUNT(*), x'', x'', '', 0, 0
FROM audit_logs
GROUP BY year;
