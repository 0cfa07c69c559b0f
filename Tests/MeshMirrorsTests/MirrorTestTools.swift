import Foundation
import Logging
import MeshCore
import MirrorConformance
import Testing

@discardableResult
func running<Answer>(_ mirror: any MeshCore.Mirror, _ body: (any MeshCore.Mirror) async throws -> Answer) async throws -> Answer {
    try await mirror.whileRunning(body)
}

extension MirrorClaim {
    /// The claim of these words. Throws when there is none, so that one which is put otherwise isn't left out in silence.
    static func saying(_ text: String) throws -> MirrorClaim {
        try #require(all.first { $0.text == text }, "no claim says: \(text)")
    }
}

/// The error of a mirror's call, nil when there was none. Anything else that is thrown breaks the port's promise.
func errorOf(sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void) async -> MirrorError? {
    do {
        try await body()
        return nil
    } catch let error as MirrorError {
        return error
    } catch {
        Issue.record(error, sourceLocation: sourceLocation)
        return nil
    }
}

func eventually(_ what: Comment, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while try await !condition() {
        try #require(ContinuousClock.now < deadline, what)
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Equal but for an expiry that a store may know only to the second.
func expect(_ loaded: MirrorRecord?, is expected: MirrorRecord?, sourceLocation: SourceLocation = #_sourceLocation) {
    var aligned = loaded
    if let expected, let loaded, (0...1000).contains(loaded.expiresAt - expected.expiresAt) { aligned?.expiresAt = expected.expiresAt }
    #expect(aligned == expected, sourceLocation: sourceLocation)
}

func now() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

/// An hour from the start of the tests.
let later = now() + 3_600_000

extension Logger {
    static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
}

extension SessionKey {
    static func random() -> SessionKey {
        SessionKey(bytes: (0..<byteCount).map { _ in UInt8.random(in: 0...255) }) ?? random()
    }
}

extension [UInt8] {
    static func version(_ number: UInt64) -> [UInt8] {
        stride(from: 120, through: 0, by: -8).map { $0 >= 64 ? 0 : UInt8(truncatingIfNeeded: number >> UInt64($0)) }
    }
}

extension MirrorEntry {
    static func entry(_ name: String, _ version: UInt64, _ payload: String = "") -> MirrorEntry {
        MirrorEntry(name: Array(name.utf8), version: .version(version), payload: Array(payload.utf8))
    }
}
