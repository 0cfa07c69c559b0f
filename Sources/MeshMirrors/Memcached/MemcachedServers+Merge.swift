#if Memcached
    import MeshCore

    extension MemcachedServers {
        /// Merges records that may lie on several servers. A server that fails doesn't hold up what goes to the others.
        func merge(_ records: ArraySlice<MirrorRecord>) throws(MirrorError) -> Rejections {
            var errors: [SessionKey: MirrorError] = [:]
            var failure: MirrorError?
            var changes: [Int: [SessionKey: MirrorRecord]] = [:]
            for record in records {
                if let fault = record.fault {
                    errors[record.key] = .unusable(record, fault)
                } else {
                    let server = try server(of: MemcachedBlob.key(of: record.key))
                    // Two changes of one session are one.
                    if changes[server, default: [:]][record.key]?.merge(record) == nil { changes[server]?[record.key] = record }
                }
            }
            for (server, changes) in changes.sorted(by: { $0.key < $1.key }) {
                do throws(MirrorError) {
                    errors.merge(try merge(Array(changes.values), on: server)) { first, _ in first }
                } catch {
                    failure = failure ?? error
                }
            }
            do throws(MirrorError) {
                errors.merge(try index(records.filter { errors[$0.key] == nil })) { first, _ in first }
            } catch {
                failure = failure ?? error
            }
            if let failure { throw failure }
            var rejections = Rejections()
            for record in records {
                if let error = errors[record.key] { rejections.note(error) }
            }
            return rejections
        }

        /// Why some of the records were not merged.
        private func merge(_ changes: [MirrorRecord], on server: Int) throws(MirrorError) -> [SessionKey: MirrorError] {
            let now = WallClock.now()
            var errors: [SessionKey: MirrorError] = [:]
            let tooLarge = try change(changes.map { MemcachedBlob.key(of: $0.key) }, on: server) { index, item in
                let change = changes[index]
                var merged = change
                if let item {
                    guard let stored = MemcachedBlob.decode(item.value, of: change.key) else {
                        errors[change.key] = .foreign(change.key)
                        return .keep
                    }
                    if stored.expiresAt > now {
                        merged = stored
                        merged.merge(change)
                        if merged == stored { return .keep }
                        if let fault = merged.fault {
                            errors[change.key] = .unusable(merged, fault)
                            return .keep
                        }
                    }
                }
                // Nothing is kept of what has no entries, or has expired already.
                guard !merged.entries.isEmpty, let expiry = MemcachedExpiry.seconds(until: merged.expiresAt, at: now) else { return .keep }
                return .store(MemcachedBlob.encode(merged), expiry: expiry)
            }
            for index in tooLarge {
                let key = changes[index].key
                errors[key] = MirrorError(
                    .refused, "session \(key) has grown to more than memcached takes for an item; raise its option -I", keys: [key])
            }
            return errors
        }

        /// Puts sessions into the indices of their users.
        private func index(_ records: [MirrorRecord]) throws(MirrorError) -> [SessionKey: MirrorError] {
            let now = WallClock.now()
            var entries: [UserKey: [SessionKey: Int64]] = [:]
            for record in records where record.expiresAt > now {
                guard let user = record.user else { continue }
                entries[user, default: [:]].merge([record.key: record.expiresAt], uniquingKeysWith: max)
            }
            var users: [Int: [UserKey]] = [:]
            for user in entries.keys { users[try server(of: MemcachedIndex.key(of: user)), default: []].append(user) }
            var errors: [SessionKey: MirrorError] = [:]
            for (server, users) in users {
                _ = try change(users.map(MemcachedIndex.key), on: server) { number, item in
                    let user = users[number]
                    let new = entries[user] ?? [:]
                    guard var index = item.map({ MemcachedIndex($0.value, of: user) }) ?? MemcachedIndex(of: user) else {
                        for key in new.keys { errors[key] = .foreign(key) }
                        return .keep
                    }
                    let changed = index.merge(new, at: now)
                    guard changed, let expiry = MemcachedExpiry.seconds(until: index.expiresAt, at: now) else { return .keep }
                    return .store(index.encoded, expiry: expiry)
                }
            }
            return errors
        }

        func remove(_ keys: [SessionKey]) throws(MirrorError) -> Rejections {
            var foreign: Set<SessionKey> = []
            var failure: MirrorError?
            var byServer: [Int: Set<SessionKey>] = [:]
            for key in keys { byServer[try server(of: MemcachedBlob.key(of: key)), default: []].insert(key) }
            for (server, keys) in byServer {
                let keys = Array(keys)
                do throws(MirrorError) {
                    for (key, item) in zip(keys, try get(keys.map(MemcachedBlob.key), from: server)) {
                        guard let item else { continue }
                        if MemcachedBlob.decode(item.value, of: key) == nil {
                            foreign.insert(key)
                        } else {
                            try remove(MemcachedBlob.key(of: key), on: server)
                        }
                    }
                } catch {
                    failure = failure ?? error
                }
            }
            if let failure { throw failure }
            var rejections = Rejections()
            for key in keys where foreign.contains(key) { rejections.note(.foreign(key)) }
            return rejections
        }
    }

    /// The sessions of a user: its key, then 32 bytes of session key and 8 of expiry for each.
    struct MemcachedIndex {
        private static let magic = "SMU\u{1}"
        private let user: UserKey
        private var sessions: [SessionKey: Int64] = [:]

        static func key(of user: UserKey) -> String { "sm:u:\(user)" }

        init(of user: UserKey) { self.user = user }

        /// Nil for what isn't this user's index.
        init?(_ bytes: [UInt8], of user: UserKey) {
            self.user = user
            guard var rest = MemcachedValue.opened(bytes, as: Self.magic), rest.take(user.bytes.count)?.elementsEqual(user.bytes) == true
            else {
                return nil
            }
            while !rest.isEmpty {
                guard let bytes = rest.take(SessionKey.byteCount), let key = SessionKey(bytes: bytes), let expiresAt = rest.take(8),
                    sessions.count < MirrorRecord.sessionsOfUserMax
                else { return nil }
                sessions[key] = Int64(bitPattern: expiresAt.number)
            }
        }

        /// Those that expire last first.
        func keys(at now: Int64) -> [SessionKey] { inOrder(at: now).map(\.key) }

        var expiresAt: Int64 { sessions.values.max() ?? 0 }

        /// Whether anything has changed.
        mutating func merge(_ others: [SessionKey: Int64], at now: Int64) -> Bool {
            guard others.contains(where: { (sessions[$0.key] ?? .min) < $0.value }) else { return false }
            sessions.merge(others, uniquingKeysWith: max)
            sessions = Dictionary(uniqueKeysWithValues: inOrder(at: now).prefix(MirrorRecord.sessionsOfUserMax).map { ($0.key, $0.value) })
            return true
        }

        private func inOrder(at now: Int64) -> [(key: SessionKey, value: Int64)] {
            sessions.filter { $0.value > now }.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        }

        var encoded: [UInt8] {
            var body = user.bytes
            for (key, expiresAt) in sessions {
                body += key.bytes
                body.append(bigEndian: UInt64(bitPattern: expiresAt))
            }
            return MemcachedValue.sealed(body, as: Self.magic)
        }
    }
#endif
