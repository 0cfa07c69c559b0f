/// One process: started, ready, silent, hung, asked to stop, gone.
extension SupervisorCore {
    mutating func launch(_ post: Post) -> Launch {
        lastLaunch = Launch(lastLaunch.number + 1)
        processes[lastLaunch] = Process(post: post, startedAt: now, phase: .starting, limits: drawLimits())
        out.append(.spawn(lastLaunch, post))
        return lastLaunch
    }

    /// From 90 % to 100 % of what is configured.
    private mutating func drawLimits() -> SupervisionPolicy.Recycling {
        let share = Double.random(in: 0.9...1, using: &generator)
        return SupervisionPolicy.Recycling(
            age: policy.recycling.age.map { .nanoseconds(Int64(Double($0.nanoseconds) * share)) },
            memory: policy.recycling.memory.map { UInt64(Double($0) * share) },
            requests: policy.recycling.requests.map { UInt64(Double($0) * share) })
    }

    mutating func spawned(_ launch: Launch, _ pid: Int32) {
        guard processes[launch] != nil else { return }
        processes[launch]?.pid = pid
        counters.spawned += 1
        tell(.spawned, of: launch)
        // Stopping may have begun while it was being started.
        if case .stopping(let until) = processes[launch]?.phase { out.append(.signal(launch, until == nil ? .kill : .terminate)) }
    }

    mutating func becameReady(_ launch: Launch) {
        guard let process = processes[launch], process.phase == .starting, !process.hasExited, let index = index(of: process.post) else {
            return
        }
        processes[launch]?.phase = .ready
        processes[launch]?.readyAt = now
        if process.post.worker != nil { register(launch) }
        tell(.ready(after: now.since(process.startedAt)), of: launch)
        vacancies[index].hasBeenReady = true
        if let crashedAt = vacancies[index].crashedAt {
            vacancies[index].crashedAt = nil
            vacancies[index].restarts += 1
            counters.restarts += 1
            tell(.restarted(after: now.since(crashedAt)), of: launch)
        }
        if vacancies[index].successor == launch {
            let former = vacancies[index].holder
            vacancies[index].holder = launch
            vacancies[index].successor = nil
            if let former { retire(former) }
        }
        if vacancies[index].successor == nil { replacementIsReady(process.post) }
    }

    mutating func heard(_ launch: Launch) {
        guard let process = processes[launch] else { return }
        processes[launch]?.heartbeatAt = now
        if process.phase == .ready, process.post.worker != nil, !process.isRegistered, !process.hasExited { register(launch) }
    }

    /// Nobody was heard meanwhile, and perhaps nobody could go on: what has its time gets it all the same.
    mutating func resumed(after pause: Duration) {
        for (launch, process) in processes {
            if process.heartbeatAt != nil { processes[launch]?.heartbeatAt = now }
            switch process.phase {
            case .starting: processes[launch]?.startedAt = process.startedAt.advanced(by: min(pause, now.since(process.startedAt)))
            case .draining(let until): processes[launch]?.phase = .draining(until: until.advanced(by: pause))
            case .stopping(let until?): processes[launch]?.phase = .stopping(until: until.advanced(by: pause))
            case .aborted(let until?): processes[launch]?.phase = .aborted(until: until.advanced(by: pause))
            case .ready, .overdue, .stopping, .aborted: break
            }
        }
    }

    private mutating func register(_ launch: Launch) {
        processes[launch]?.isRegistered = true
        out.append(.register(launch))
    }

    private mutating func withdraw(_ launch: Launch) {
        guard processes[launch]?.isRegistered == true else { return }
        processes[launch]?.isRegistered = false
        out.append(.withdraw(launch))
    }

    // MARK: Time

    mutating func watch(_ launch: Launch) {
        guard let process = processes[launch] else { return }
        switch process.phase {
        case .starting:
            guard !isHung(launch, process), process.pid != nil, process.startedAt.advanced(by: policy.readyTimeout).uptime <= now.uptime
            else { return }
            processes[launch]?.phase = .overdue(hint: nil)
            out.append(.diagnose(launch))
        case .ready:
            guard !isHung(launch, process) else { return }
            considerRecycling(process)
        case .draining(let until) where until.uptime <= now.uptime: terminate(launch)
        case .stopping(let until?) where until.uptime <= now.uptime:
            processes[launch]?.phase = .stopping(until: nil)
            out.append(.signal(launch, .kill))
        case .aborted(let until?) where until.uptime <= now.uptime:
            processes[launch]?.phase = .aborted(until: nil)
            out.append(.signal(launch, .kill))
        case .overdue, .draining, .stopping, .aborted: break
        }
    }

    func nextMoment(of process: Process) -> Moment? {
        let hang = process.heartbeatAt.map { heartbeatAt in
            heartbeatAt.advanced(by: process.isRegistered ? policy.silenceMax : policy.hangTimeout)
        }
        switch process.phase {
        case .starting: return process.pid == nil ? nil : earliest(process.startedAt.advanced(by: policy.readyTimeout), hang)
        case .ready:
            let age = process.limits.age.map { process.startedAt.advanced(by: $0) }
            // One that is due and waits for its turn has nothing to wait for here.
            return earliest(hang, age.flatMap { $0.uptime > now.uptime ? $0 : nil })
        case .draining(let until): return until
        case .stopping(let until), .aborted(let until): return until
        case .overdue: return nil
        }
    }

    private func earliest(_ a: Moment?, _ b: Moment?) -> Moment? {
        guard let a, let b else { return a ?? b }
        return a.uptime < b.uptime ? a : b
    }

    /// Whether it has just been found hung. One that never sent a heartbeat isn't asked for any.
    private mutating func isHung(_ launch: Launch, _ process: Process) -> Bool {
        guard let heartbeatAt = process.heartbeatAt else { return false }
        let silence = now.since(heartbeatAt)
        if silence >= policy.silenceMax { withdraw(launch) }
        guard silence >= policy.hangTimeout else { return false }
        let until = now.advanced(by: policy.abortGrace)
        processes[launch]?.phase = .aborted(until: until)
        counters.hangs += 1
        tell(.hung(silence: silence), of: launch)
        out.append(.signal(launch, .abort))
        return true
    }

    mutating func uses(_ launch: Launch, _ memory: UInt64?, _ requests: UInt64?) {
        if let memory { processes[launch]?.memory = memory }
        if let requests { processes[launch]?.requests = requests }
    }

    // MARK: Stopping

    /// Asks a process to end: no new requests, a moment for balancers to hear of it, then SIGTERM.
    mutating func retire(_ launch: Launch) {
        guard let process = processes[launch] else { return }
        switch process.phase {
        case .starting: terminate(launch)
        case .ready where process.post.worker == nil: terminate(launch)
        case .ready:
            withdraw(launch)
            let until = now.advanced(by: policy.drainPause)
            processes[launch]?.phase = .draining(until: until)
        case .overdue, .draining, .stopping, .aborted: break
        }
    }

    mutating func retireAll(at index: Int) {
        for launch in [vacancies[index].successor, vacancies[index].holder] { if let launch { retire(launch) } }
    }

    private mutating func terminate(_ launch: Launch) {
        guard let process = processes[launch], let index = index(of: process.post) else { return }
        processes[launch]?.phase = .stopping(until: now.advanced(by: vacancies[index].stopTimeout))
        if process.pid != nil { out.append(.signal(launch, .terminate)) }
    }

    mutating func diagnosed(_ launch: Launch, _ hint: String?) {
        guard case .overdue = processes[launch]?.phase else { return }
        processes[launch]?.phase = .overdue(hint: hint)
        out.append(.signal(launch, .kill))
    }

    // MARK: Ending

    /// Nobody is to be sent there for a moment longer.
    mutating func exited(_ launch: Launch) {
        processes[launch]?.hasExited = true
        withdraw(launch)
    }

    mutating func notSpawned(_ launch: Launch, _ reason: String) {
        guard processes[launch] != nil else { return }
        crashed(launch, Crash(reason: .notSpawned(reason), wasReady: false, lastLines: []))
    }

    mutating func ended(_ launch: Launch, _ ending: ProcessEnding, _ leftBehind: Int, _ lines: [String]) {
        guard let process = processes[launch] else { return }
        withdraw(launch)
        let reason: Crash.Reason? =
            switch process.phase {
            case .draining, .stopping: nil
            case .aborted: .hung(ending)
            case .overdue(let hint): .notReady(after: policy.readyTimeout, hint: hint)
            case .starting where ending == .exited(code: 0) && leftBehind > 0: .forkedAway
            case .starting, .ready: ending == .exited(code: 0) ? nil : .ended(ending)
            }
        if let reason {
            crashed(launch, Crash(reason: reason, wasReady: process.readyAt != nil, lastLines: lines))
        } else {
            stopped(launch, process, ending)
        }
    }

    private mutating func stopped(_ launch: Launch, _ process: Process, _ ending: ProcessEnding) {
        tell(.stopped(ending), of: launch)
        let wasAsked = process.phase != .starting && process.phase != .ready
        processes[launch] = nil
        guard let index = index(of: process.post) else { return }
        let wasHolder = leave(launch, at: index)
        guard !wasAsked else {
            // Stopped to make room for its replacement, or scaled away and wanted again since.
            if wasHolder, vacancies[index].isWanted { vacancies[index].startAt = now }
            return
        }
        if process.post.worker == nil { return giveUp(nil) }
        vacancies[index].isDone = wasHolder
        replacementIsReady(process.post)
    }

    private mutating func crashed(_ launch: Launch, _ crash: Crash) {
        guard let process = processes[launch] else { return }
        let post = process.post
        let wasHealthy = process.readyAt.map { now.since($0) >= policy.healthyAfter } ?? false
        counters.crashes += 1
        tell(.crashed(crash), of: launch)
        defer { processes[launch] = nil }
        guard let index = index(of: post) else { return }
        if vacancies[index].successor == launch, vacancies[index].holder != nil {
            vacancies[index].successor = nil
            replacementFailed(post, crash, launch)
            return
        }
        if vacancies[index].holder == launch, vacancies[index].hasBeenReady, vacancies[index].crashedAt == nil {
            vacancies[index].crashedAt = now
        }
        guard leave(launch, at: index), vacancies[index].isWanted, !isStopping else { return }
        if case .sidecar(let name) = post, !vacancies[index].hasBeenReady { return giveUp(.failed(sidecar: name, crash)) }
        let crashes = (wasHealthy ? 0 : vacancies[index].crashesInARow) + 1
        vacancies[index].crashesInARow = crashes
        if crashes == policy.crashLoopAfter { tell(.crashLooping(crashes: crashes), of: launch) }
        vacancies[index].startAt = now.advanced(by: pause(afterCrashes: crashes))
        if !crash.wasReady { replacementFailed(post, crash, launch) }
    }

    /// Nothing after the first crash; then drawn from all of a time that doubles, so that workers which fail together don't start together.
    private mutating func pause(afterCrashes crashes: Int) -> Duration {
        guard crashes > 1 else { return .zero }
        let longest = min(policy.backoff.lowerBound * (1 << min(crashes - 2, 20)), policy.backoff.upperBound)
        return .nanoseconds(Int64.random(in: 0...longest.nanoseconds, using: &generator))
    }

    /// Takes a process that is gone out of its post; a successor that is on its way takes its place.
    /// - Returns: whether nobody is there now.
    private mutating func leave(_ launch: Launch, at index: Int) -> Bool {
        if vacancies[index].successor == launch { vacancies[index].successor = nil }
        guard vacancies[index].holder == launch else { return false }
        vacancies[index].holder = vacancies[index].successor
        vacancies[index].successor = nil
        return vacancies[index].holder == nil
    }

    // MARK: Parts

    func index(of post: Post) -> Int? { vacancies.firstIndex { $0.post == post } }

    mutating func tell(_ kind: SupervisorEvent.Kind, of launch: Launch) {
        guard let process = processes[launch] else { return }
        out.append(.tell(SupervisorEvent(time: now.wall, post: process.post, launch: launch, pid: process.pid, kind: kind)))
    }
}
