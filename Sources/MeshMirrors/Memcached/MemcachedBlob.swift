#if Memcached
    import Crypto
    import MeshCore

    /// A value of ours: four bytes that say what it is and in which version of its format, the first eight of the SHA-256 of the rest, and the rest.
    /// Whatever is not so is another program's, or was cut, and is left alone.
    enum MemcachedValue {
        static let digestBytes = 8

        static func sealed(_ body: [UInt8], as magic: String) -> [UInt8] { Array(magic.utf8) + digest(of: body[...]) + body }

        static func opened(_ bytes: [UInt8], as magic: String) -> ArraySlice<UInt8>? {
            var rest = bytes[...]
            guard let start = rest.take(magic.utf8.count), start.elementsEqual(magic.utf8), let digest = rest.take(digestBytes),
                digest.elementsEqual(Self.digest(of: rest))
            else { return nil }
            return rest
        }

        private static func digest(of body: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
            let digest = body.withUnsafeBytes { SHA256.hash(data: $0) }
            return Array(digest).prefix(digestBytes)
        }
    }

    /// What a session is in Memcached: one value that holds all of it, for there is nothing smaller that could be changed in one step.
    ///
    ///     session key                       32
    ///     expiry in Unix ms                  8
    ///     flags                              1    1: tombstone
    ///     number of entries                  2
    ///     of each entry: length of the name 1, name, version 16, length of the payload 4, payload
    ///
    /// Numbers are big-endian. The key is in it so that one session's value is never taken for another's, whatever a client, a server
    /// or somebody who copies values has mixed up.
    enum MemcachedBlob {
        private static let magic = "SMR\u{1}"
        private static let tombstone: UInt8 = 1

        static func key(of session: SessionKey) -> String { "sm:\(session)" }

        static func encode(_ record: MirrorRecord) -> [UInt8] {
            var body: [UInt8] = []
            body.reserveCapacity(record.entries.reduce(64) { $0 + $1.byteCount + 5 })
            body.append(contentsOf: record.key.bytes)
            body.append(bigEndian: UInt64(bitPattern: record.expiresAt))
            body.append(record.isTombstone ? tombstone : 0)
            body.append(bigEndian: UInt16(record.entries.count))
            for entry in record.entries {
                body.append(UInt8(entry.name.count))
                body.append(contentsOf: entry.name)
                body.append(contentsOf: entry.version)
                body.append(bigEndian: UInt32(entry.payload.count))
                body.append(contentsOf: entry.payload)
            }
            return MemcachedValue.sealed(body, as: magic)
        }

        /// Nil for what isn't this session's record in this format.
        static func decode(_ bytes: [UInt8], of key: SessionKey) -> MirrorRecord? {
            guard var rest = MemcachedValue.opened(bytes, as: magic), let owner = rest.take(SessionKey.byteCount),
                SessionKey(bytes: owner) == key, let expiresAt = rest.take(8), let flags = rest.popFirst(), flags & ~tombstone == 0,
                let count = rest.take(2)
            else { return nil }
            var entries: [MirrorEntry] = []
            for _ in 0..<count.number {
                guard let nameBytes = rest.popFirst(), let name = rest.take(Int(nameBytes)),
                    let version = rest.take(MirrorEntry.versionBytes), let payloadBytes = rest.take(4),
                    let payload = rest.take(Int(payloadBytes.number))
                else { return nil }
                entries.append(MirrorEntry(name: Array(name), version: Array(version), payload: Array(payload)))
            }
            guard rest.isEmpty else { return nil }
            let record = MirrorRecord(
                key: key, entries: entries, expiresAt: Int64(bitPattern: expiresAt.number), isTombstone: flags & tombstone != 0)
            return record.fault == nil ? record : nil
        }
    }

    /// When Memcached may forget something, as it wants to be told.
    ///
    /// Memcached counts seconds, takes more than 30 days for a date, and drops an item up to a second before its time, for its clock ticks
    /// once a second: an item of "1 s" was seen to live for 0.76 s. So a second is added, and the record's own milliseconds decide.
    enum MemcachedExpiry {
        static let never: UInt32 = 0
        private static let relativeSecondsMax: Int64 = 30 * 24 * 3600

        /// Nil when the moment is past. Both in Unix milliseconds.
        static func seconds(until expiresAt: Int64, at now: Int64) -> UInt32? {
            guard expiresAt > now else { return nil }
            // A date of the server's clock is wrong by as much as that clock is; a number of seconds is not.
            let seconds = (expiresAt / 1000) - (now / 1000) + 2
            if seconds <= relativeSecondsMax { return UInt32(seconds) }
            // The binary protocol has 32 bits for it.
            return UInt32(clamping: expiresAt / 1000 + 2)
        }
    }

    extension [UInt8] {
        mutating func append(bigEndian number: some FixedWidthInteger) {
            for shift in stride(from: number.bitWidth - 8, through: 0, by: -8) { append(UInt8(truncatingIfNeeded: number >> shift)) }
        }
    }

    extension ArraySlice<UInt8> {
        mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
            guard count <= self.count else { return nil }
            defer { removeFirst(count) }
            return prefix(count)
        }

        /// Of at most eight bytes, big-endian.
        var number: UInt64 { reduce(0) { $0 << 8 | UInt64($1) } }
    }
#endif
