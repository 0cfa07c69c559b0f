import AgentTools
import Foundation
import LabTools
import MeshCore
import Synchronization

/// Three agents with a store that is harmed while applications use sessions.
struct Harm {
    enum Kind: String, CaseIterable {
        /// By SIGKILL; it is started again in the end. Redis and Memcached come back empty, MongoDB with what it had on disk.
        case killed
        /// By SIGSTOP: it takes calls and doesn't answer, until SIGCONT.
        case stopped
        /// Emptied, again and again, the last time in the end.
        case flushed
        /// Each answer takes two seconds.
        case slow
    }

    let store: StoreKind
    let kind: Kind
    /// How long the harm lasts. Half as long the mesh is watched before it.
    var time: Duration = .seconds(60)
    var seed: UInt64 = 1

    private static let rate = 1000
    private static let sessions = 2000
    private static let flushInterval = Duration.seconds(5)
    private static let delay = Duration.seconds(2)
    private static let catchUpPatience = Duration.seconds(60)

    func run(with toolbox: Toolbox) throws -> [Figure] {
        let server = try Store(store, in: "\(toolbox.directory)/store")
        defer { server.kill() }
        let proxy = kind == .slow ? try DelayProxy(to: server.place.port) : nil
        defer { proxy?.end() }
        let scene = try Scene(3, with: toolbox, mirror: server.place.uri(port: proxy?.port), Load.Shape(), seed: seed)
        defer { scene.end() }
        let load = scene.load
        try scene.fill(Self.sessions)
        try scene.waitForTheMirror()
        try scene.ask(Self.rate, .unmeasured, for: .seconds(3))
        try scene.ask(Self.rate, .quiet, for: time / 2)

        Say.progress("  \(store.rawValue) is \(kind.rawValue) for \(time.seconds.fixed(0)) s")
        let flusher = Flusher(server.place)
        var nextFlush = scene.loop.now
        switch kind {
        case .killed: server.kill()
        case .stopped: server.stop()
        case .slow: proxy?.delay(by: Self.delay)
        case .flushed: break
        }
        try scene.ask(Self.rate, .harmed, for: time) {
            if kind == .flushed, scene.loop.now >= nextFlush {
                flusher.begin()
                nextFlush += Self.flushInterval
            }
            return false
        }

        // Back, while applications go on.
        var isBack = false
        switch kind {
        case .killed: try server.startAgain()
        case .stopped:
            server.goOn()
            isBack = true
        case .slow:
            proxy?.delay(by: .zero)
            isBack = true
        case .flushed: flusher.begin()
        }
        try scene.ask(Self.rate, .after, for: Self.catchUpPatience) {
            if !isBack { isBack = kind == .flushed ? flusher.isDone : server.place.answers }
            return isBack
        }
        guard isBack else { throw LabFailure("the store did not come back: \(flusher.complaint ?? "no answer")") }
        let back = scene.loop.now
        // A mirror that is made now has no connection to wait for that broke before.
        let reader = try StoreReader(server.place.uri())
        let caughtUp = try catchUp(scene, reader, since: back)
        try scene.finish()
        let atRest = try compare(scene, reader)
        let found = try scene.readAll()
        let lost = zip(load.sessions, found).count { session, snapshot in
            load.number(in: snapshot?.registers ?? [:]) < session.acknowledged
        }
        if load.failed > 0 { Say.progress("  failed: \(load.failures)") }

        let (quiet, harmed, after) = (load.waits[.quiet] ?? .init(), load.waits[.harmed] ?? .init(), load.waits[.after] ?? .init())
        func p99(_ sample: Sample) -> Double { sample.percentile(99) }
        return [
            Figure("requests that failed", load.failed, goal: .atMost(0)),
            Figure("p99, harmed to quiet", p99(harmed.all) / p99(quiet.all), goal: .atMost(1.2)),
            Figure("reads, p99, quiet", p99(quiet.reads), "ms"),
            Figure("reads, p99, harmed", p99(harmed.reads), "ms"),
            Figure("commits, p99, quiet", p99(quiet.commits), "ms"),
            Figure("commits, p99, harmed", p99(harmed.commits), "ms"),
            Figure("all, p99, while the store catches up", p99(after.all), "ms"),
            Figure("sessions with an acknowledged state lost", lost, goal: .atMost(0)),
            Figure("store equals mesh after", caughtUp?.seconds, "s", goal: .atMost(5)),
            Figure("sessions that differ at rest", atRest, goal: .atMost(0)),
            Figure("requests", load.requestCount),
        ]
    }

    /// How long it takes, while requests go on, until the store has of every session at least what the mesh had acknowledged when it came back; nil
    /// when it doesn't.
    private func catchUp(_ scene: Scene, _ reader: StoreReader, since back: Duration) throws -> Duration? {
        let load = scene.load
        var behind = load.sessions.map { (key: $0.key, wanted: $0.acknowledged) }
        var taken: Duration?
        var outline: [String] = []
        reader.begin(behind.map(\.key))
        try scene.ask(Self.rate, .after, for: Self.catchUpPatience) {
            guard let answers = reader.take() else { return false }
            let now = scene.loop.now - back
            behind = zip(behind, answers).filter { session, answer in
                guard case .record(let record) = answer else { return true }
                return load.number(in: record.registers) < session.wanted
            }.map(\.0)
            let failed = answers.count { if case .failed = $0 { true } else { false } }
            outline.append("\(now.seconds.fixed(2)): \(behind.count)\(failed > 0 ? ", \(failed) not answered" : "")")
            if behind.isEmpty { taken = now } else { reader.begin(behind.map(\.key)) }
            return taken != nil
        }
        let shown = outline.enumerated().filter { $0.offset % max(1, outline.count / 20) == 0 }.map(\.element)
        Say.progress("  s since the store is back, and how many sessions it lacks: \(shown.joined(separator: "; "))")
        return taken
    }

    /// Sessions whose fields in the store are not those that the mesh answers, with nobody asking for changes. What is written behind has its time.
    private func compare(_ scene: Scene, _ reader: StoreReader) throws -> Int {
        try scene.waitForTheMirror()
        let found = try scene.readAll()
        let end = scene.loop.now + .seconds(5)
        var differing = Int.max
        while differing > 0, scene.loop.now < end {
            reader.begin(scene.load.sessions.map(\.key))
            var answers: [StoreReader.Answer]?
            try scene.wait(for: "the store to be read") {
                answers = reader.take()
                return answers != nil
            }
            differing = zip(answers ?? [], found).count { answer, snapshot in
                guard case .record(let record) = answer, let snapshot else { return true }
                return record.registers != snapshot.registers
            }
        }
        return differing
    }
}

/// Empties a store without the lab's thread waiting for it.
private final class Flusher: Sendable {
    private let place: StorePlace
    private let state = Mutex((underWay: 0, complaint: String?.none))

    init(_ place: StorePlace) { self.place = place }

    var isDone: Bool { state.withLock { $0.underWay == 0 && $0.complaint == nil } }
    var complaint: String? { state.withLock { $0.complaint } }

    func begin() {
        state.withLock {
            $0.underWay += 1
            $0.complaint = nil
        }
        Thread.detachNewThread { [self] in
            var complaint: String?
            do { try place.flush() } catch { complaint = "\(error)" }
            state.withLock {
                $0.underWay -= 1
                $0.complaint = complaint
            }
        }
    }
}
