import Foundation
import TemporaryDirectory

/// An authority of our own, which signs certificates for a test's servers.
struct TestAuthority {
    /// A certificate and its key, in PEM.
    struct Identity {
        let certificate: String
        let key: String

        /// Both in one file, as mongod takes them. It stands where the certificate stood alone.
        func inOneFile() throws -> String {
            let both = try [certificate, key].map { try String(contentsOfFile: $0, encoding: .utf8) }
            try both.joined().write(toFile: certificate, atomically: true, encoding: .utf8)
            return certificate
        }
    }

    private let directory: TemporaryDirectory
    var certificate: String { directory.file("authority.pem") }

    init() throws {
        directory = try TemporaryDirectory()
        try openssl(["-subj", "/CN=test authority"], as: Identity(certificate: certificate, key: directory.file("authority.key")))
    }

    /// - Parameter names: as OpenSSL takes subject alternative names.
    func identity(for names: String) throws -> Identity {
        let name = UUID().uuidString
        let identity = Identity(certificate: directory.file("\(name).pem"), key: directory.file("\(name).key"))
        let signer = ["-CA", certificate, "-CAkey", directory.file("authority.key")]
        // What is an authority itself isn't taken for a server by everybody.
        let extensions = ["-addext", "subjectAltName=\(names)", "-addext", "basicConstraints=critical,CA:FALSE"]
        try openssl(signer + ["-subj", "/CN=test"] + extensions, as: identity)
        return identity
    }

    private func openssl(_ arguments: [String], as identity: Identity) throws {
        let process = Process()
        process.executableURL = URL(filePath: try ServerProcess.path(of: "openssl"))
        process.arguments =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            + ["-keyout", identity.key, "-out", identity.certificate] + arguments
        let output = Pipe()
        process.standardError = output
        try process.run()
        let words = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ServerFailure(description: "openssl made no certificate: \(String(decoding: words, as: UTF8.self))")
        }
    }
}
