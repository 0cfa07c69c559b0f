import Foundation
import Logging
import MeshAgent
import MeshCore
import MeshMirrors
import MirrorConformance

/// The store behind a URI, for the conformance suite.
struct CheckedStore: MirrorStore {
    let uri: MirrorURI
    let logger: Logger

    private static let callsMax = 400
    /// Room for what a mirror asks of its store by itself.
    private static let callsSpared = 16

    var callsAtOnce: Int { min(Self.callsMax, uri.callsWaitingMax - Self.callsSpared) }

    func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror {
        try uri.makeMirror(commandTimeout: commandTimeout, logger: logger)
    }
}

/// How a store did as a mirror.
struct MirrorCheck {
    var uri: String
    var connecting: Duration
    var inspection: MirrorInspection
    var writing: Timings
    var reading: Timings
    /// Sessions a second, in batches as agents write them.
    var bulk: Double
    var claims: [(claim: String, broken: MirrorClaim.Broken?)]

    var broken: [MirrorClaim.Broken] { claims.compactMap(\.broken) }

    struct Timings {
        private let sorted: [Duration]

        init(_ samples: [Duration]) { sorted = samples.sorted() }

        func percentile(_ share: Double) -> Duration {
            sorted.isEmpty ? .zero : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
        }
    }

    private static let connectTimeout: Duration = .seconds(5)
    private static let sessions = 200
    private static let bulkSessions = 4096
    /// As agents send them.
    private static let batchSessions = 256
    private static let batchesMax = 2

    /// - Parameter progress: told what is done next.
    /// - Throws: ``CommandFailure`` when the store can't be reached or refuses.
    static func run(on store: CheckedStore, progress: @Sendable (String) -> Void) async throws -> MirrorCheck {
        do {
            progress("connecting to \(store.uri)")
            var check = try await store.uri.makeMirror(logger: store.logger).whileRunning { mirror in
                try await measure(mirror, of: store, progress: progress)
            }
            for (index, claim) in MirrorClaim.nonDestructive.enumerated() {
                progress("claim \(index + 1) of \(MirrorClaim.nonDestructive.count): \(claim)")
                do {
                    try await claim.check(on: store)
                    check.claims.append((claim.text, nil))
                } catch let broken as MirrorClaim.Broken {
                    check.claims.append((claim.text, broken))
                }
            }
            return check
        } catch let error as MirrorError {
            throw CommandFailure.failed("\(store.uri) can't be used as a mirror: \(error)")
        }
    }

    private static func measure(
        _ mirror: any MeshCore.Mirror, of store: CheckedStore, progress: @Sendable (String) -> Void
    ) async throws -> MirrorCheck {
        let records = records(sessions + bulkSessions)
        let connecting = try await connect(mirror, looking: records)
        let inspection = try await mirror.inspect()
        progress("writing and reading \(records.count) sessions")
        let outcome: Result<MirrorCheck, any Error>
        do {
            let (single, bulk) = (records.prefix(sessions), records.dropFirst(sessions))
            outcome = .success(
                MirrorCheck(
                    uri: "\(store.uri)", connecting: connecting, inspection: inspection,
                    writing: try await timings(single) { try await mirror.merge([$0]) },
                    reading: try await timings(single) { _ = try await mirror.load($0.key) },
                    bulk: Double(bulk.count) / (try await time(of: bulk, into: mirror) / .seconds(1)), claims: []))
        } catch {
            outcome = .failure(error)
        }
        let removed: Result<Void, any Error>
        do { removed = .success(try await mirror.remove(records.map(\.key))) } catch { removed = .failure(error) }
        let check = try outcome.get()
        try removed.get()
        return check
    }

    private static func timings(
        _ records: some Collection<MirrorRecord>, _ call: (MirrorRecord) async throws -> Void
    ) async throws -> Timings {
        var samples: [Duration] = []
        for record in records { samples.append(try await ContinuousClock().measure { try await call(record) }) }
        return Timings(samples)
    }

    /// Of batches, as many at a time as agents have under way.
    private static func time(of records: ArraySlice<MirrorRecord>, into mirror: any MeshCore.Mirror) async throws -> Duration {
        let batches = stride(from: records.startIndex, to: records.endIndex, by: batchSessions).map {
            Array(records[$0..<min($0 + batchSessions, records.endIndex)])
        }
        return try await ContinuousClock().measure {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, batch) in batches.enumerated() {
                    if index >= batchesMax { try await group.next() }
                    group.addTask { try await mirror.merge(batch) }
                }
                try await group.waitForAll()
            }
        }
    }

    /// Until it answers; what it said last is thrown when it doesn't.
    private static func connect(_ mirror: any MeshCore.Mirror, looking records: [MirrorRecord]) async throws -> Duration {
        let start = ContinuousClock.now
        while let key = records.first?.key {
            do throws(MirrorError) {
                _ = try await mirror.load(key)
                break
            } catch {
                guard error.code != .refused, ContinuousClock.now - start < connectTimeout else { throw error }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        return ContinuousClock.now - start
    }

    /// Sessions of three fields of twenty bytes, with keys by chance.
    private static func records(_ count: Int) -> [MirrorRecord] {
        let wall = Int64(Date().timeIntervalSince1970 * 1000)
        return (0..<count).compactMap { _ in
            guard let key = SessionKey(bytes: bytes(SessionKey.byteCount)) else { return nil }
            let entries = ["m", "ra", "rb", "rc"].map { name in
                MirrorEntry(name: Array(name.utf8), version: bytes(MirrorEntry.versionBytes), payload: bytes(20))
            }
            return MirrorRecord(key: key, entries: entries, expiresAt: wall + 600_000)
        }
    }

    private static func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in .random(in: 0...255) } }
}

// MARK: Shown

extension MirrorCheck {
    var text: String {
        var text = "\(uri) is \(inspection.server)\n\n"
        var table = TextTable("", "", "")
        table.add("  connect", Self.milliseconds(connecting), "")
        table.add("  write", "p50 \(Self.milliseconds(writing.percentile(0.5)))", "p99 \(Self.milliseconds(writing.percentile(0.99)))")
        table.add("  read", "p50 \(Self.milliseconds(reading.percentile(0.5)))", "p99 \(Self.milliseconds(reading.percentile(0.99)))")
        table.add("  write in bulk", "\(Int(bulk)) sessions/s", "")
        text += table.text.drop { $0 == "\n" } + "\n"
        for finding in inspection.findings { text += "  \(finding.kind.mark) \(finding.text)\n" }
        text += "\n"
        for broken in broken { text += "  ! \(broken)\n" }
        return text + "  \(claims.count - broken.count) of \(claims.count) claims about a mirror hold\n"
    }

    var json: JSON {
        func timings(_ timings: Timings) -> JSON {
            .object([
                ("p50Microseconds", .number(timings.percentile(0.5).nanoseconds / 1000)),
                ("p99Microseconds", .number(timings.percentile(0.99).nanoseconds / 1000)),
            ])
        }
        return .object([
            ("uri", .text(uri)), ("server", .text(inspection.server)), ("connectMicroseconds", .number(connecting.nanoseconds / 1000)),
            ("write", timings(writing)), ("read", timings(reading)), ("bulkPerSecond", .number(Int64(bulk))),
            (
                "findings",
                .array(inspection.findings.map { .object([("kind", .text($0.kind.rawValue)), ("text", .text($0.text))]) })
            ),
            (
                "claims",
                .array(
                    claims.map {
                        .object([
                            ("claim", .text($0.claim)), ("holds", .bool($0.broken == nil)),
                            ("seen", $0.broken.map { .text($0.description) }),
                        ])
                    })
            ),
        ])
    }

    private static func milliseconds(_ duration: Duration) -> String {
        (duration / .milliseconds(1)).formatted(.number.precision(.fractionLength(2))) + " ms"
    }
}

extension MirrorInspection.Finding.Kind {
    fileprivate var mark: String {
        switch self {
        case .does: "+"
        case .lacks: "-"
        case .risk: "!"
        }
    }
}
