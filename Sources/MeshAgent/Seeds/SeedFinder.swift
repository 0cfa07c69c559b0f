import Logging
import MeshCore
import NIOPosix

/// Looks seeds up, off the agent's thread, and tells the core what they stand for: at the start, and then for ever, whenever nobody stands
/// behind one. A seed that leads to nobody is no reason to stop; it is told of once a minute.
///
/// On the agent's thread, like the doors.
final class SeedFinder {
    private let driver: AgentDriver
    private let interval: Duration
    private let lookup: SeedLookup
    private var entries: [Entry]
    private var told: (endpoints: [Endpoint], isComplete: Bool)?
    private var isClosed = false

    private struct Entry {
        let seed: SeedAddress
        /// Nil until it was looked up.
        var answer: SeedAnswer?
        /// A lookup may take longer than the time between two; then there is only the one.
        var isUnderWay = false
        var complainedAt: Int64?
    }

    /// Between two lines about one seed.
    private static let complaintInterval: Int64 = 60_000_000_000

    /// - Parameter interval: between two lookups of a seed.
    init(driver: AgentDriver, seeds: [SeedAddress], interval: Duration, lookup: SeedLookup) {
        self.driver = driver
        self.interval = interval
        self.lookup = lookup
        var seen: Set<SeedAddress> = []
        entries = seeds.filter { seen.insert($0).inserted }.prefix(SeedAddress.countMax).map { seed in
            guard case .endpoint(let endpoint) = seed else { return Entry(seed: seed) }
            return Entry(seed: seed, answer: SeedAnswer(endpoints: [endpoint]))
        }
    }

    func start() {
        for index in entries.indices where entries[index].answer == nil { look(index) }
        wait()
    }

    func close() { isClosed = true }

    private func wait() {
        driver.loop.schedule(after: interval) { [weak self] in
            guard let self, !isClosed else { return }
            lookAround()
            wait()
        }
    }

    private func lookAround() {
        let missing = Set(driver.seedsMissing)
        for index in entries.indices {
            let endpoints = entries[index].answer?.endpoints ?? []
            if !endpoints.isEmpty, missing.isSuperset(of: endpoints) { complain(index, "nobody answers there") }
            if mayHaveChanged(entries[index], missing: missing) { look(index) }
        }
    }

    private func mayHaveChanged(_ entry: Entry, missing: Set<Endpoint>) -> Bool {
        switch entry.seed {
        case .endpoint: false
        // Reading it costs next to nothing, and what an operator writes into it is meant.
        case .file: true
        case .host, .service:
            entry.answer.map { !$0.isKnown || $0.endpoints.isEmpty || !missing.isDisjoint(with: $0.endpoints) } ?? true
        }
    }

    private func look(_ index: Int) {
        guard !entries[index].isUnderWay else { return }
        entries[index].isUnderWay = true
        NIOThreadPool.singleton.submit { [lookup, executor = driver.executor, seed = entries[index].seed] _ in
            let answer = lookup.answer(seed)
            executor.execute { $0.seeds?.found(answer, at: index) }
        }
    }

    private func found(_ answer: SeedAnswer, at index: Int) {
        guard !isClosed else { return }
        entries[index].isUnderWay = false
        var answer = answer
        if !answer.isKnown, let former = entries[index].answer {
            // A name server that is away takes nothing back.
            answer.isKnown = former.isKnown
            answer.endpoints += former.endpoints.filter { !answer.endpoints.contains($0) }
            answer.endpoints = Array(answer.endpoints.prefix(SeedLookup.addressesMax))
        }
        entries[index].answer = answer
        if let problem = answer.problem { complain(index, problem) }
        tell()
    }

    private func tell() {
        let endpoints = entries.flatMap { $0.answer?.endpoints ?? [] }
        let isComplete = entries.allSatisfy { $0.answer?.isKnown ?? false }
        guard told.map({ $0.endpoints != endpoints || $0.isComplete != isComplete }) ?? true else { return }
        told = (endpoints, isComplete)
        driver.feed(.seeds(endpoints, isComplete: isComplete))
    }

    private func complain(_ index: Int, _ problem: String) {
        let now = SystemClock.now().uptime
        guard entries[index].complainedAt.map({ now - $0 >= Self.complaintInterval }) ?? true else { return }
        entries[index].complainedAt = now
        driver.logger.warning("the seed \(entries[index].seed) leads to nobody: \(problem); it is tried again and again")
    }
}
