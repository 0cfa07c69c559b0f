#if MongoDB
    import MeshCore
    import MirrorConformance
    import Testing

    @testable import MeshMirrors

    /// How a server is reached that doesn't take everybody, or isn't where it is said to be.
    @Suite(.serialized) struct MongoLoginTests {
        @Test func aUserServesWhatMattersAndAWrongOrMissingPasswordIsRefusedInOneClearLineWithoutIt() async throws {
            try await MongoServer.with(options: ["--auth"]) { server in
                func createUser(_ name: String, _ roles: BSON, login: String = "") throws {
                    try server.raw(login: login, database: "admin") { raw in
                        try raw.answer([
                            "createUser": .string(name), "pwd": "right horse", "mechanisms": ["SCRAM-SHA-256"], "roles": roles,
                        ])
                    }
                }
                // The first user may be made by whoever is on the same machine, and makes the others.
                try createUser("root", ["root"])
                try createUser("ann", [["role": "readWrite", "db": "sessionmesh"]], login: "root:right%20horse@")
                for (login, hint) in [
                    ("ann:wrong%20horse@", "refused the user"), ("bob:right%20horse@", "refused the user"), ("", "wants a password"),
                ] {
                    let configuration = try server.configuration(login: login, options: login.isEmpty ? "" : "&authSource=admin")
                    try await running(try server.mirror(configuration)) { mirror in
                        for error in [
                            await errorOf { _ = try await mirror.load(.random()) },
                            await errorOf { try await mirror.merge([MongoStore.record]) },
                            await errorOf { try await mirror.append([[1]], to: Slot(masking: 1)) },
                            await errorOf { _ = try await mirror.tail(Slot(masking: 1), after: nil, waiting: .zero) },
                        ] { expectRefusal(error, hints: [hint, "mirror URI"], secret: "horse") }
                    }
                }
                let store = MongoStore(server: server, login: "ann:right%20horse@", options: "&authSource=admin")
                for claim in MirrorClaim.thatMatter { try await MirrorClaim.saying(claim).check(on: store) }
                let other = try server.configuration(login: "ann:right%20horse@", database: "other", options: "&authSource=admin")
                try await running(try server.mirror(other)) { mirror in
                    expectRefusal(await errorOf { _ = try await mirror.load(.random()) }, hints: ["readWrite"], secret: "horse")
                }
            }
        }

        @Test func aServerThatWantsTLSServesWhatMattersAndOneOfAnUnknownAuthorityIsRefusedInOneClearLine() async throws {
            let (authority, stranger) = (try TestAuthority(), try TestAuthority())
            let identity = try authority.identity(for: "IP:127.0.0.1").inOneFile()
            try await MongoServer.with(options: ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", identity]) { server in
                let store = MongoStore(server: server, options: "&tls=true&tlsCAFile=\(authority.certificate)")
                for claim in MirrorClaim.thatMatter { try await MirrorClaim.saying(claim).check(on: store) }
                for (file, hint) in [(stranger.certificate, "is not trusted"), ("/nowhere/authority.pem", "can't read the certificates")] {
                    try await running(try server.mirror(try server.configuration(options: "&tls=true&tlsCAFile=\(file)"))) { mirror in
                        let error = await errorOf { _ = try await mirror.load(.random()) }
                        expectRefusal(error, hints: [hint, "tlsCAFile=", "mirror URI"], secret: file)
                    }
                }
                try await running(try server.mirror(try server.configuration())) { mirror in
                    #expect(await errorOf { _ = try await mirror.load(.random()) }?.code == .unreachable)
                }
            }
        }

        @Test func aMirrorWhoseNameCanNotBeLookedUpRunsAllTheSameAndIsUnreachable() async throws {
            var configuration = MongoMirror.Configuration(address: try MongoAddress(uri: "mongodb+srv://mesh.store.invalid/"))
            configuration.commandTimeout = .seconds(60)
            try await running(try MongoMirror(configuration, logger: .quiet)) { mirror in
                // Each looks anew, so that the mirror is there as soon as its name is.
                for _ in 0..<2 {
                    let error = await errorOf { _ = try await mirror.load(.random()) }
                    let line = error?.description ?? ""
                    #expect(error?.code == .unreachable && line.contains("mesh.store.invalid") && !line.contains("\n"), "\(line)")
                }
            }
        }
    }
#endif
