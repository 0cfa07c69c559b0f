#if Memcached
    public import MeshCore

    extension MemcachedMirror {
        public func inspect() async throws(MirrorError) -> MirrorInspection {
            try await call { servers throws(MirrorError) in
                var all: [MemcachedStatistics] = []
                for server in servers.configuration.address.servers.indices { all.append(try servers.statistics(of: server)) }
                return MemcachedStatistics.inspection(all)
            }
        }
    }

    extension MemcachedServers {
        fileprivate func statistics(of server: Int) throws(MirrorError) -> MemcachedStatistics {
            _ = try get("sm:g", from: server)
            return try tell(server) { connection throws(MemcachedConnection.Failure) in
                MemcachedStatistics(counts: try connection.statistics(), settings: try connection.statistics("settings"))
            }
        }
    }

    /// What a server counts, and how it was started (memcached's doc/protocol.txt).
    struct MemcachedStatistics: Sendable {
        let version: String
        let bytesMax: Int
        let itemBytesMax: Int
        let evictions: Int
        let evicts: Bool

        init(counts: [String: String], settings: [String: String]) {
            version = counts["version"] ?? "of an unknown version"
            // Whatever a server says, sums of a few don't overflow.
            func number(_ text: String?) -> Int? { text.flatMap { Int($0) }.map { min(max(0, $0), 1 << 50) } }
            bytesMax = number(counts["limit_maxbytes"]) ?? 0
            evictions = number(counts["evictions"]) ?? 0
            itemBytesMax = number(settings["item_size_max"]) ?? 1 << 20
            evicts = settings["evictions"] != "off"
        }

        static func inspection(_ all: [MemcachedStatistics]) -> MirrorInspection {
            let versions = Set(all.map(\.version)).sorted().joined(separator: ", ")
            var findings: [MirrorInspection.Finding] = []
            let mebibytes = all.reduce(0) { $0 + $1.bytesMax } >> 20
            let evictions = all.reduce(0) { $0 + $1.evictions }
            switch (all.contains(where: \.evicts), evictions) {
            case (true, 0):
                findings.append(.init(.lacks, "throws away what was used least when its \(mebibytes) MiB are full; it had no need yet"))
            case (true, _):
                findings.append(.init(.risk, "has thrown \(evictions) items away to stay within \(mebibytes) MiB: give it more with -m"))
            case (false, _):
                findings.append(.init(.does, "refuses writes when its \(mebibytes) MiB are full, and throws nothing away"))
            }
            let itemBytesMax = all.map(\.itemBytesMax).min() ?? 0
            if itemBytesMax < MirrorRecord.bytesMax {
                let most = "\(itemBytesMax >> 10) KiB"
                findings.append(.init(.risk, "takes \(most) of a session at most, and larger ones are not written: raise it with -I"))
            }
            if all.count > 1 {
                findings.append(.init(.does, "spreads sessions over \(all.count) servers; what is on one that is down can't be reached"))
            }
            findings += [
                .init(.lacks, "forgets everything when it is restarted; agents write what they hold anew"),
                .init(.lacks, "announces nothing: who waits for a channel asks again and again"),
                .init(.lacks, "knows neither passwords nor TLS here: keep it on a private network"),
            ]
            return MirrorInspection(server: "Memcached \(versions)", findings: findings)
        }
    }
#endif
