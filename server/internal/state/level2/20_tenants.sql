-- Before there were quotas nobody was bounded: those who were there stay without limits.
UPDATE tenants SET plan = 'enterprise';

CREATE INDEX applications_tenant ON applications (tenant_id, slug);
CREATE INDEX tenants_name ON tenants (name, id);
CREATE INDEX tenants_trash ON tenants (trashed_at, id) WHERE status = 'trash';
