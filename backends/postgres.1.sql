-- Schema version 1. Never edit a released version, not even a comment: its checksum is in every database.
-- "C" compares by bytes, which is the order that listings promise. The checks are the bounds of Name and Value.
CREATE TABLE keys (
    name text COLLATE "C" NOT NULL PRIMARY KEY
        CHECK (name ~ '^[0-9A-Za-z_]([0-9A-Za-z_-]{0,78}[0-9A-Za-z_])?$' AND name <> '_'),
    value bytea NOT NULL CHECK (octet_length(value) <= 1048576)
);
