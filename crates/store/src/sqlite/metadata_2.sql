-- Events of functions that isolate tenants.
ALTER TABLE event ADD COLUMN tenant_id TEXT;
ALTER TABLE dead_letter ADD COLUMN tenant_id TEXT;
