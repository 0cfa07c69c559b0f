#if Redis
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    @Suite struct RedisTLSTests {
        private let authority: TestAuthority

        init() throws { authority = try TestAuthority() }

        /// Those that depend on how bytes arrive, and on when a connection ends.
        private static let claims = [
            "a payload of 64 KiB, and of ten times as much, comes back whole", "a batch of 10,000 records is merged whole",
            "a reader that waits is given what two writers append, each item once", "many calls at once each get their own answer",
            "a mirror that nobody runs any more says so, and does what it did when it is run again",
            "a stalled mirror times out, and the answers after it are its own",
            "a mirror that is gone is unreachable at once, and works again when it is back",
        ]

        @Test(arguments: claims) func keepsOverTLS(_ claim: String) async throws {
            try await withServer(for: "DNS:localhost,IP:127.0.0.1") { server in
                try await MirrorClaim.saying(claim).check(
                    on: RedisStore(server: server, uri: "rediss://127.0.0.1:\(server.port)?ca=\(authority.certificate)"))
            }
        }

        @Test(arguments: ["localhost", "127.0.0.1"]) func aCertificateMayBeForANameOrForAnAddress(_ host: String) async throws {
            try await withServer(for: "DNS:localhost,IP:127.0.0.1", ["--requirepass", "right horse"]) { server in
                let uri = "rediss://:right%20horse@\(host):\(server.port)/3?ca=\(authority.certificate)"
                try await running(try server.mirror(try .patient(uri))) { try await $0.merge([RedisMirrorTests.record]) }
            }
        }

        @Test func aCertificateForAnotherHostIsRefused() async throws {
            try await withServer(for: "DNS:cache.example,IP:127.0.0.2") { server in
                for host in ["localhost", "127.0.0.1"] {
                    try await expectError(
                        "for another host", from: server, at: "rediss://\(host):\(server.port)?ca=\(authority.certificate)")
                }
            }
        }

        @Test func aCertificateOfAnUnknownAuthorityIsRefused() async throws {
            let other = try TestAuthority()
            try await withServer(for: "IP:127.0.0.1") { server in
                for options in ["", "?ca=\(other.certificate)"] {
                    try await expectError(
                        "name the authority's file by ?ca=", from: server, at: "rediss://127.0.0.1:\(server.port)\(options)")
                }
            }
        }

        @Test func whereNoTLSIsSpokenOrOnlyTLSThatIsSaid() async throws {
            try await RedisServer.with(tcp: true) { server in
                try await expectError("redis://", from: server, at: "rediss://127.0.0.1:\(server.port)", connectTimeout: .seconds(3))
            }
            try await withServer(for: "IP:127.0.0.1") { server in
                try await expectError("rediss://", from: server, at: "redis://127.0.0.1:\(server.port)")
            }
        }

        @Test func aRedisThatAsksForACertificateIsGivenOurs() async throws {
            try await withServer(for: "IP:127.0.0.1", ["--tls-auth-clients", "yes"]) { server in
                let uri = "rediss://127.0.0.1:\(server.port)?ca=\(authority.certificate)"
                try await expectError("?cert= and &key=", from: server, at: uri)
                let ours = try authority.identity(for: "DNS:agent")
                let named = "\(uri)&cert=\(ours.certificate)&key=\(ours.key)"
                try await running(try server.mirror(try .patient(named))) { try await $0.merge([RedisMirrorTests.record]) }
                let other = try TestAuthority()
                let foreign = try other.identity(for: "DNS:agent")
                try await expectError("cert=", from: server, at: "\(uri)&cert=\(foreign.certificate)&key=\(foreign.key)")
            }
        }

        @Test func filesThatCannotBeUsedAreNamedBeforeAnythingRuns() throws {
            let ours = try authority.identity(for: "DNS:agent")
            for (options, hint) in [
                ("ca=/nowhere.pem", "ca=, /nowhere.pem"), ("ca=\(ours.key)", "ca="), ("cert=/nowhere.pem&key=\(ours.key)", "cert="),
                ("cert=\(ours.certificate)&key=\(ours.certificate)", "key="),
            ] {
                let uri = try MirrorURI("rediss://host?\(options)")
                let error = #expect(throws: MirrorURI.Invalid.self) { try uri.makeMirror(logger: .quiet) }
                #expect(
                    error?.description.contains(hint) == true && error?.description.contains("\n") == false, "\(String(describing: error))")
            }
        }

        @Test func sentinelsAndARedisClusterAreReachedOverTLSToo() async throws {
            let tls = try tlsOptions(for: "IP:127.0.0.1") + ["--tls-replication", "yes", "--tls-cluster", "yes"]
            try await RedisServer.with(tcp: true, portOption: "--tls-port", options: tls) { master in
                try await RedisServer.withSentinel(of: master, portOption: "--tls-port", options: tls) { sentinel in
                    let uri = "rediss+sentinel://127.0.0.1:\(sentinel.port)/sessions?ca=\(authority.certificate)"
                    try await running(try master.mirror(try .patient(uri))) { try await $0.merge([RedisMirrorTests.record]) }
                }
            }
            try await RedisClusterServers.with(portOption: "--tls-port", options: tls) { servers in
                let node = servers.nodes[2]
                let uri = "rediss+cluster://127.0.0.1:\(node.port)?ca=\(authority.certificate)"
                try await running(try node.mirror(try .patient(uri))) { mirror in
                    let records = (0..<60).map { MirrorRecord(key: .random(), entries: [.entry("n", $0)], expiresAt: later) }
                    try await mirror.merge(records)
                    for record in records { expect(try await mirror.load(record.key), is: record) }
                }
            }
        }

        private func tlsOptions(for names: String) throws -> [String] {
            let identity = try authority.identity(for: names)
            return [
                "--tls-cert-file", identity.certificate, "--tls-key-file", identity.key, "--tls-ca-cert-file", authority.certificate,
                "--tls-auth-clients", "no",
            ]
        }

        private func withServer(for names: String, _ options: [String] = [], _ body: (RedisServer) async throws -> Void) async throws {
            try await RedisServer.with(tcp: true, portOption: "--tls-port", options: try tlsOptions(for: names) + options, body)
        }

        private func expectError(
            _ hint: String, from server: RedisServer, at uri: String, connectTimeout: Duration = .seconds(5),
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            var configuration = try RedisMirror.Configuration.patient(uri)
            configuration.connectTimeout = connectTimeout
            try await running(try server.mirror(configuration)) { mirror in
                let error = await errorOf { _ = try await mirror.load(.random()) }
                let line = error?.description ?? ""
                #expect(line.contains(hint) && !line.contains("\n"), "\(line)", sourceLocation: sourceLocation)
                #expect(error?.isFailureOfTheMirror == true, sourceLocation: sourceLocation)
            }
        }
    }
#endif
