/// Workers that are to be replaced though they serve: all of them for a restart, one that is due to be recycled. One at a time.
struct ReplacementQueue: Hashable, Sendable {
    private(set) var waiting: [Entry] = []
    private(set) var current: Entry?
    /// After one that came to nothing, recycling is left alone until then: what is wrong with the program is wrong with the next as well.
    var retryAt: Moment?

    struct Entry: Hashable, Sendable {
        var worker: Int
        var why: Replacement
    }

    mutating func add(_ worker: Int, _ why: Replacement) {
        if let index = waiting.firstIndex(where: { $0.worker == worker }) {
            if why == .restart { waiting[index].why = why }
            return
        }
        // A restart that is asked for while one goes on means the program of now, also for those that were replaced already.
        guard current?.worker != worker || why == .restart else { return }
        waiting.append(Entry(worker: worker, why: why))
    }

    mutating func begin() -> Entry? {
        guard current == nil, !waiting.isEmpty else { return nil }
        current = waiting.removeFirst()
        return current
    }

    mutating func end() -> Entry? {
        defer { current = nil }
        return current
    }

    /// What was asked for is given up; what is due comes again by itself.
    mutating func abandon() { waiting = [] }

    mutating func forget(_ worker: Int) {
        waiting.removeAll { $0.worker == worker }
        if current?.worker == worker { current = nil }
    }

    func isUnderWay(_ post: Post) -> Bool { current.map { .worker($0.worker) == post } ?? false }
}

extension SupervisorCore {
    mutating func restartAll() {
        guard !isStopping else { return }
        replacing.retryAt = nil
        for vacancy in vacancies where vacancy.isWanted { if let number = vacancy.post.worker { replacing.add(number, .restart) } }
    }

    mutating func considerRecycling(_ process: Process) {
        guard !isStopping, replacing.retryAt == nil, let number = process.post.worker, let index = index(of: process.post),
            vacancies[index].successor == nil
        else { return }
        if let age = process.limits.age, now.since(process.startedAt) >= age {
            replacing.add(number, .age)
        } else if let limit = process.limits.memory, let memory = process.memory, memory >= limit, isSettled(process) {
            replacing.add(number, .memory)
        } else if let limit = process.limits.requests, let requests = process.requests, requests >= limit {
            replacing.add(number, .requests)
        }
    }

    private func isSettled(_ process: Process) -> Bool {
        process.readyAt.map { now.since($0) >= SupervisionPolicy.Recycling.memoryPause } ?? false
    }

    mutating func replaceNext() {
        // Whoever is on the way out has the cores, and perhaps the port: the next one waits for its end.
        guard replacing.current == nil, !processes.values.contains(where: { $0.post.worker != nil && isLeaving($0) }) else { return }
        while let entry = replacing.begin() {
            guard let index = index(of: .worker(entry.worker)) else {
                _ = replacing.end()
                continue
            }
            begin(entry, at: index)
            return
        }
    }

    func isLeaving(_ process: Process) -> Bool {
        switch process.phase {
        case .draining, .stopping: true
        case .starting, .ready, .overdue, .aborted: false
        }
    }

    private mutating func begin(_ entry: ReplacementQueue.Entry, at index: Int) {
        counters.replacements += 1
        vacancies[index].isDone = false
        guard let holder = vacancies[index].holder else {
            // It waits after a crash, or ended: the program of now may do better, so it is tried at once.
            vacancies[index].crashesInARow = 0
            vacancies[index].startAt = now
            return
        }
        tell(.replacing(entry.why), of: holder)
        if hasNoPortToSpare {
            retire(holder)
        } else {
            vacancies[index].successor = launch(vacancies[index].post)
        }
    }

    mutating func replacementIsReady(_ post: Post) {
        guard replacing.isUnderWay(post) else { return }
        _ = replacing.end()
    }

    mutating func replacementFailed(_ post: Post, _ crash: Crash, _ launch: Launch) {
        guard replacing.isUnderWay(post), let entry = replacing.end() else { return }
        replacing.abandon()
        replacing.retryAt = now.advanced(by: policy.backoff.upperBound)
        tell(.notReplaced(entry.why, crash), of: launch)
    }
}
