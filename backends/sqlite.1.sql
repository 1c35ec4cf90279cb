-- Schema version 1. Never edit a released version, not even a comment: its checksum is in every database.
-- TEXT compares by bytes (BINARY), which is the order that listings promise. The checks are the bounds of Name and Value.
CREATE TABLE keys (
    name TEXT NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 80 AND name NOT GLOB '*[^-0-9A-Za-z_]*'),
    value BLOB NOT NULL CHECK (length(value) <= 1048576)
) STRICT, WITHOUT ROWID;
