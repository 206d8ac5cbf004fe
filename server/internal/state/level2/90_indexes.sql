-- What commands look for.
CREATE INDEX releases_build ON releases (build_id);
