#if Redis
    public import MeshCore

    extension RedisMirror {
        public func inspect() async throws(MirrorError) -> MirrorInspection {
            switch try await exchange([RedisCommand("INFO")]).first ?? .null {
            case .bytes(let bytes): return RedisInfo(String(decoding: bytes, as: UTF8.self)).inspection
            case .error(let text) where text.hasPrefix("NOPERM"):
                let finding = "doesn't tell us what it does when it is full or restarted: allow its user INFO"
                return MirrorInspection(server: "Redis", findings: [.init(.lacks, finding)])
            case .error(let text): throw RedisErrorReply(text).error
            default: throw MirrorError(.refused, "what redis answered to INFO can't be read")
            }
        }
    }

    /// What INFO says (redis.io/docs/latest/commands/info).
    struct RedisInfo {
        private var values: [Substring: Substring] = [:]

        init(_ text: String) {
            for line in text.split(whereSeparator: \.isNewline) {
                let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                if parts.count == 2 { values[parts[0]] = parts[1] }
            }
        }

        var inspection: MirrorInspection {
            let version = values["redis_version"] ?? "of an unknown version"
            var inspection = MirrorInspection(server: "Redis \(RedisErrorReply.oneLine(String(version)))")
            inspection.findings = [replication, memory, persistence]
            if let major = version.split(separator: ".").first.flatMap({ Int($0) }), major < 5 {
                inspection.findings.append(.init(.risk, "is older than 5, and has no streams: channels can't be kept in it"))
            } else {
                inspection.findings.append(.init(.does, "keeps the logs of channels in streams, and announces what is appended"))
            }
            return inspection
        }

        private var replication: MirrorInspection.Finding {
            guard values["role"] != "slave" else {
                return .init(.risk, "is a replica and takes no writes: name its master")
            }
            let replicas = Int(values["connected_slaves"] ?? "") ?? 0
            return replicas == 0 ? .init(.lacks, "has no replica") : .init(.does, "has \(replicas) replica\(replicas == 1 ? "" : "s")")
        }

        private var memory: MirrorInspection.Finding {
            let bound = Int(values["maxmemory"] ?? "") ?? 0
            guard bound > 0 else { return .init(.lacks, "takes memory without a bound: maxmemory is 0") }
            let policy = values["maxmemory_policy"] ?? "unknown"
            guard policy != "noeviction" else {
                return .init(.does, "refuses writes when its \(bound >> 20) MiB are full, and throws nothing away")
            }
            let words = RedisErrorReply.oneLine(String(policy))
            return .init(
                .risk, "throws sessions away when its \(bound >> 20) MiB are full: maxmemory-policy is \(words); set noeviction")
        }

        private var persistence: MirrorInspection.Finding {
            values["aof_enabled"] == "1"
                ? .init(.does, "keeps what it holds through a restart: appendonly is on")
                : .init(.lacks, "may come back from a restart without the latest, or empty: appendonly is off; agents write what they hold")
        }
    }
#endif
