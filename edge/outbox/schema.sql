-- The outbox: what a tail recorded and the ground does not provably hold yet, and a cache.
-- A record row is written once and deleted once; what the ground holds of a stream is ranges
-- in its stream row, so an ack of any number of records changes one small row a stream.
-- id of a record = stream.id * 2^40 + seq: one B-tree, ordered by stream and seq.
-- data_key: what `sealed.data`, `journal.data` or `kv.value` is encrypted with; 0 is plain.

CREATE TABLE kv (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    data_key INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- One a boot, while something needs it. Never in the clear: see edge/outbox/keyring.py.
CREATE TABLE data_key (
    id INTEGER PRIMARY KEY,
    device_key_id TEXT NOT NULL,
    for_device BLOB NOT NULL,           -- AES-256-GCM under the device key
    recovery_key_id TEXT NOT NULL,
    for_recovery BLOB NOT NULL          -- HPKE to the offline recovery key
) STRICT;

CREATE TABLE epoch (
    n INTEGER PRIMARY KEY,              -- the highest is the current one
    epoch TEXT NOT NULL UNIQUE,
    diverged INTEGER NOT NULL DEFAULT 0 -- the ground knew more of it than this store
) STRICT;

CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL,
    stream TEXT NOT NULL,
    cls TEXT NOT NULL,
    next_seq INTEGER NOT NULL,
    received BLOB NOT NULL,             -- MessagePack [[low, high], …]
    safe BLOB NOT NULL,
    UNIQUE (epoch, stream)
) STRICT;

CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    born INTEGER NOT NULL,              -- order of appending, over all streams
    t_event_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,              -- of the envelope, as links carry it
    sha256 BLOB NOT NULL,               -- of the payload
    data_key INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Apart from `record`, so that looking for records never reads their bytes.
CREATE TABLE sealed (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- Readings that are not in a block yet.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    grp TEXT NOT NULL,
    data BLOB NOT NULL,
    readings INTEGER NOT NULL,
    data_key INTEGER NOT NULL DEFAULT 0
) STRICT;
