#if Memcached
    import MeshCore

    extension MemcachedServers {
        /// Merges records that may lie on several servers. A server that fails doesn't hold up what goes to the others.
        func merge(_ records: [MirrorRecord]) throws(MirrorError) -> Rejections {
            var errors: [SessionKey: MirrorError] = [:]
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
            var failure: MirrorError?
            for (server, changes) in changes.sorted(by: { $0.key < $1.key }) {
                do throws(MirrorError) {
                    errors.merge(try merge(Array(changes.values), on: server)) { first, _ in first }
                } catch {
                    failure = failure ?? error
                }
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
            var errors: [SessionKey: MirrorError] = [:]
            var waiting = changes
            for _ in 0..<MemcachedMirror.attemptsMax where !waiting.isEmpty {
                var overtaken: [MirrorRecord] = []
                for (change, item) in zip(waiting, try get(waiting.map { MemcachedBlob.key(of: $0.key) }, from: server)) {
                    switch try merge(change, into: item, on: server) {
                    case .merged: continue
                    case .overtaken: overtaken.append(change)
                    case .rejected(let error): errors[change.key] = error
                    }
                }
                waiting = overtaken
            }
            if let change = waiting.first {
                throw MirrorError(
                    .timedOut, "session \(change.key) was changed by others at each of \(MemcachedMirror.attemptsMax) attempts")
            }
            return errors
        }

        private enum Outcome {
            case merged
            case overtaken
            case rejected(MirrorError)
        }

        private func merge(_ change: MirrorRecord, into item: MemcachedConnection.Item?, on server: Int) throws(MirrorError) -> Outcome {
            let now = MemcachedMirror.wall()
            var merged = change
            if let item {
                guard let stored = MemcachedBlob.decode(item.value, of: change.key) else { return .rejected(.foreign(change.key)) }
                if stored.expiresAt > now {
                    merged = stored
                    merged.merge(change)
                    if merged == stored { return .merged }
                    if let fault = merged.fault { return .rejected(.unusable(merged, fault)) }
                }
            }
            // Nothing is kept of what has no entries, or has expired already.
            guard !merged.entries.isEmpty, let expiry = MemcachedExpiry.seconds(until: merged.expiresAt, at: now) else { return .merged }
            let value = MemcachedBlob.encode(merged)
            switch try put(value, under: MemcachedBlob.key(of: change.key), over: item?.version, expiry: expiry, on: server) {
            case .stored: return .merged
            case .overtaken: return .overtaken
            case .tooLarge:
                return .rejected(
                    MirrorError(
                        .refused,
                        "session \(change.key) takes \(value.count) bytes, more than memcached takes for an item; raise its option -I",
                        keys: [change.key]))
            case .full:
                throw MirrorError(.refused, "memcached has no memory left and evicts nothing; raise its option -m or take -M away")
            }
        }
    }
#endif
