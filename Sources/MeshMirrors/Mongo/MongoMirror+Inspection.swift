#if MongoDB
    public import MeshCore

    extension MongoMirror {
        public func inspect() async throws(MirrorError) -> MirrorInspection {
            let build = try await command(["buildInfo": 1], writes: false)
            guard let version = build["version"]?.string else { throw unreadable }
            return try await topology().inspection(ofVersion: version)
        }

        func topology() async throws(MirrorError) -> MongoTopology {
            MongoTopology(hello: try await command(["hello": 1], writes: false))
        }
    }

    /// What a MongoDB is part of, by its answer to `hello` (mongodb.com/docs/manual/reference/command/hello).
    struct MongoTopology {
        private let hello: BSONDocument
        private let isRouter: Bool
        private let setName: String?

        init(hello: BSONDocument) {
            self.hello = hello
            isRouter = hello["msg"]?.string == "isdbgrid"
            setName = hello["setName"]?.string
        }

        /// Whether it is a set, or the way into several.
        var isSet: Bool { setName != nil || isRouter }

        func inspection(ofVersion version: String) -> MirrorInspection {
            var findings = [kind]
            if let major = version.split(separator: ".").first.flatMap({ Int($0) }), major < 5 {
                findings.append(.init(.risk, "is older than 5, and can't merge sessions in one step"))
            }
            findings += [
                .init(.does, "keeps what it holds through a restart"), .init(.does, "takes away what has expired, once a minute"),
            ]
            return MirrorInspection(server: "MongoDB \(version)", findings: findings)
        }

        private var kind: MirrorInspection.Finding {
            if isRouter { return .init(.does, "is a router, mongos, of several sets") }
            guard let set = setName else {
                return .init(.lacks, "is a server by itself: no other has its data")
            }
            guard hello["isWritablePrimary"] == .bool(true) else {
                return .init(.risk, "is a secondary of the set \(set) and takes no writes: name the set with replicaSet=\(set)")
            }
            let count = hello["hosts"]?.array?.values?.count ?? 1
            guard count > 1 else { return .init(.lacks, "is the only server of the set \(set): no other has its data") }
            return .init(.does, "is the set \(set) of \(count) servers, and goes on when one of them dies")
        }
    }
#endif
