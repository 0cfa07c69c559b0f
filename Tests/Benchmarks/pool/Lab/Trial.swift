import Glibc
import LabTools

/// Rounds of the same requests while nothing else is asked of a server, and while its work is done in one place or another.
final class Trial {
    enum Part: String, CaseIterable {
        case idle, pool, handler, loop
    }

    /// Of one part in one round.
    struct Outcome {
        /// Milliseconds.
        var waits = Sample()
        var worked = 0
        var busy = 0.0
    }

    private let settings: Settings
    private let server: Child
    private let port: UInt16

    init(_ settings: Settings) throws {
        self.settings = settings
        server = try Child([CommandLine.arguments[0], "serve"] + settings.server)
        var port: UInt16?
        let deadline = Instant.now + .seconds(10)
        while port == nil, Instant.now < deadline, !server.output.isAtEnd {
            poll(nil, 0, 20)
            server.output.read { line in port = UInt16(String(decoding: line.dropFirst("port ".utf8.count), as: UTF8.self)) }
        }
        guard let port else { throw LabFailure("the server did not start") }
        self.port = port
        // Who measures must not be what is waited for. A person who isn't root measures that too.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -20)
    }

    func run() throws -> Report {
        var report = try Report(settings)
        _ = try measure(.pool, for: .seconds(1))
        for round in 1...settings.rounds {
            for part in Part.allCases {
                let outcome = try measure(part, for: .seconds(settings.seconds))
                report.add(part, outcome)
                Say.progress(
                    "round \(round)   \(part.rawValue)   p50 \(outcome.waits.percentile(50).fixed(3)) ms   "
                        + "p99 \(outcome.waits.percentile(99).fixed(3)) ms   p99.9 \(outcome.waits.percentile(99.9).fixed(3)) ms   "
                        + "work \(outcome.worked)   busy \(outcome.busy.fixed(0)) %")
            }
        }
        return report
    }

    /// Asks for `/` at its rate, whatever is answered meanwhile, and for work as fast as it is done.
    private func measure(_ part: Part, for time: Duration) throws -> Outcome {
        var pages = try (0..<Self.pageClients).map { _ in try Client("/", port: port) }
        var workers = try (0..<(part == .idle ? 0 : settings.callers)).map { _ in
            try Client("/\(part.rawValue)/\(settings.work)", port: port)
        }
        defer { for client in pages + workers { client.close() } }
        var outcome = Outcome()
        let pause = Duration.seconds(1) / settings.rate
        for index in workers.indices { try workers[index].ask(since: .now) }
        // Until all threads have something to do.
        let start = Instant.now + .milliseconds(500)
        let end = start + time
        var due = start - .milliseconds(400)
        let load = HostLoad()
        while Instant.now < end {
            try Interruption.check()
            var descriptors = (pages + workers).map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            _ = poll(&descriptors, nfds_t(descriptors.count), 1)
            for (index, ready) in descriptors.enumerated() where ready.revents != 0 {
                if index < pages.count {
                    guard let since = try pages[index].read() else { continue }
                    if since >= start { outcome.waits.add((Instant.now - since).seconds * 1000) }
                } else if let since = try workers[index - pages.count].read() {
                    if since >= start { outcome.worked += 1 }
                    try workers[index - pages.count].ask(since: .now)
                }
            }
            while due <= .now {
                // When all wait for an answer, the wait of this one has begun all the same. Otherwise what the clock's grain adds is not
                // the server's.
                guard let free = pages.firstIndex(where: { $0.since == nil }) else { break }
                let isOnTime = Instant.now - due < .milliseconds(5)
                try pages[free].ask(since: isOnTime ? .now : due)
                due += pause
            }
        }
        // What was not answered by the end has waited so long at least.
        for page in pages { if let since = page.since, since >= start { outcome.waits.add((Instant.now - since).seconds * 1000) } }
        while due < end {
            if due >= start { outcome.waits.add((end - due).seconds * 1000) }
            due += pause
        }
        outcome.busy = HostLoad.percent(since: load)
        return outcome
    }

    /// Answers of half a second at the highest rate.
    private static let pageClients = 64
}
