import MeshCore

/// A supervisor's core, and what it asked for, one short line each.
struct SupervisorPlay {
    private(set) var core: SupervisorCore
    /// More than a worker gets.
    static let sidecarStopTimeout = Duration.seconds(40)

    private(set) var now = Moment(uptime: 0, wall: 1_000_000)

    init(
        workers: Int, before: [String] = [], after: [String] = [], processesMax: Int = .max, seed: UInt64 = 1,
        _ change: (inout SupervisionPolicy) -> Void = { _ in }
    ) {
        var policy = SupervisionPolicy()
        change(&policy)
        core = SupervisorCore(
            configuration: SupervisorCore.Configuration(
                workers: workers, sidecarsBefore: before.map { .init(name: $0, stopTimeout: Self.sidecarStopTimeout) },
                sidecarsAfter: after.map { .init(name: $0, stopTimeout: Self.sidecarStopTimeout) }, policy: policy,
                processesMax: processesMax),
            generator: SeededGenerator(seed: seed))
    }

    mutating func step(_ input: SupervisorInput) -> [String] { core.step(input, at: now).map(Self.line) }

    mutating func pass(_ duration: Duration) -> [String] {
        now = now.advanced(by: duration)
        return step(.tick)
    }

    /// The supervisor stands still for as long, and hears of that first.
    mutating func wakeAfter(_ duration: Duration) -> [String] {
        now = now.advanced(by: duration)
        return step(.resumed(after: duration))
    }

    /// Goes to when there is something to do; nil when there is nothing.
    mutating func untilDue() -> (waited: Duration, lines: [String])? {
        guard let deadline = core.deadline else { return nil }
        let wait = max(.zero, deadline.since(now))
        return (wait, pass(wait))
    }

    /// Starts everything, and has everything that is started come up. Launches are numbered in the order of their starts.
    mutating func comeUp() {
        var lines = step(.start)
        while !lines.isEmpty {
            var next: [String] = []
            for line in lines where line.hasPrefix("spawn ") {
                let launch = Launch(UInt64(line.split(separator: " ")[1].dropFirst()) ?? 0)
                next += step(.spawned(launch, pid: Int32(100 + launch.number)))
                next += step(.ready(launch))
            }
            lines = next
        }
    }

    mutating func end(_ launch: UInt64, _ ending: ProcessEnding, leftBehind: Int = 0, lines: [String] = []) -> [String] {
        step(.ended(Launch(launch), ending, leftBehind: leftBehind, lastLines: lines))
    }

    mutating func spawned(_ launch: UInt64) -> [String] { step(.spawned(Launch(launch), pid: Int32(100 + launch))) }

    static func line(_ directive: SupervisorDirective) -> String {
        switch directive {
        case .spawn(let launch, let post): "spawn \(launch) for \(post)"
        case .register(let launch): "register \(launch)"
        case .withdraw(let launch): "withdraw \(launch)"
        case .diagnose(let launch): "diagnose \(launch)"
        case .signal(let launch, let signal): "\(signal) \(launch)"
        case .tell(let event): "\(event.post) \(event.launch): \(word(event.kind))"
        case .finish(.stopped): "finished"
        case .finish(.failed(let sidecar, _)): "failed for want of the \(sidecar)"
        }
    }

    private static func word(_ kind: SupervisorEvent.Kind) -> String {
        switch kind {
        case .spawned: "spawned"
        case .ready(let after): "ready after \(after.milliseconds) ms"
        case .restarted(let after): "restarted after \(after.milliseconds) ms"
        case .hung(let silence): "hung for \(silence.milliseconds) ms"
        case .crashed(let crash): "crashed, \(word(crash.reason))\(crash.wasReady ? "" : ", never ready")"
        case .crashLooping(let crashes): "crash-looping, \(crashes)"
        case .replacing(let why): "replacing (\(why.rawValue))"
        case .notReplaced(let why, let crash): "not replaced (\(why.rawValue)), \(word(crash.reason))"
        case .stopped(let ending): "stopped, \(ending)"
        }
    }

    private static func word(_ reason: Crash.Reason) -> String {
        switch reason {
        case .ended(let ending): ending.description
        case .notSpawned(let reason): reason
        case .notReady(_, let hint): "not ready: \(hint ?? "nobody knows why")"
        case .hung(let ending): "hung and \(ending)"
        case .forkedAway: "forked away"
        }
    }
}
