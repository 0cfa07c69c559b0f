import Foundation
import TemporaryDirectory

/// Certificates of our own, in files that are gone afterwards.
struct TestCertificates {
    private let directory: TemporaryDirectory
    /// The authority that has signed the server's.
    var authority: String { directory.file("authority.pem") }
    /// For 127.0.0.1, with its key.
    var server: String { directory.file("server.pem") }
    /// An authority that has signed nothing.
    var stranger: String { directory.file("stranger.pem") }

    init() throws {
        directory = try TemporaryDirectory()
        for (name, extra) in [
            ("authority", []), ("stranger", []),
            (
                "server",
                [
                    "-CA", authority, "-CAkey", directory.file("authority.key"), "-addext", "subjectAltName=IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:FALSE",
                ]
            ),
        ] {
            try Self.openssl(
                [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=\(name)", "-keyout", directory.file("\(name).key"), "-out", directory.file("\(name).pem"),
                ] + extra)
        }
        let key = try String(contentsOfFile: directory.file("server.key"), encoding: .utf8)
        let certificate = try String(contentsOfFile: server, encoding: .utf8)
        try (certificate + key).write(toFile: server, atomically: true, encoding: .utf8)
    }

    private static func openssl(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ServerFailure(description: "openssl \(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
        }
    }
}
