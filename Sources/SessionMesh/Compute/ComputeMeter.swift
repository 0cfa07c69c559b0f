import CoreMetrics
import Synchronization

/// What a pool counts of itself, for whatever metrics system the application has. `Docs/OPERATING.md` says what each metric means, and a
/// test holds the two together.
final class ComputeMeter: Sendable {
    private let pool: String
    private let factory: (any MetricsFactory)?
    private let instruments = Mutex<Instruments?>(nil)

    private struct Instruments {
        let running: Meter
        let wait: Timer
        let duration: Timer
        /// As many as there are outcomes.
        var calls: [String: Counter] = [:]
        let pool: String
        let factory: any MetricsFactory

        init(pool: String, _ factory: any MetricsFactory) {
            let dimensions = [("pool", pool)]
            running = Meter(label: "sessionmesh_compute_running", dimensions: dimensions, factory: factory)
            wait = Timer(label: "sessionmesh_compute_wait_seconds", dimensions: dimensions, factory: factory)
            duration = Timer(label: "sessionmesh_compute_duration_seconds", dimensions: dimensions, factory: factory)
            self.pool = pool
            self.factory = factory
        }

        mutating func ended(_ outcome: String) {
            let counter =
                calls[outcome]
                ?? Counter(label: "sessionmesh_compute_calls_total", dimensions: [("pool", pool), ("outcome", outcome)], factory: factory)
            calls[outcome] = counter
            counter.increment()
        }
    }

    /// - Parameter factory: nil for the one that the process was bootstrapped with, by the time that there is something to count.
    init(pool: String, factory: (any MetricsFactory)?) {
        self.pool = pool
        self.factory = factory
    }

    private func count(_ body: (inout Instruments) -> Void) {
        instruments.withLock { instruments in
            var present = instruments ?? Instruments(pool: pool, factory ?? MetricsSystem.factory)
            // Handed over rather than shared, so that the table isn't copied.
            instruments = nil
            body(&present)
            instruments = present
        }
    }

    func began(after wait: Duration) {
        count { instruments in
            instruments.running.increment(by: 1.0)
            instruments.wait.recordNanoseconds(wait.nanoseconds)
        }
    }

    func returned(after duration: Duration) {
        count { instruments in
            instruments.running.decrement(by: 1.0)
            instruments.duration.recordNanoseconds(duration.nanoseconds)
        }
    }

    func ended(_ outcome: String) { count { $0.ended(outcome) } }
}

extension Duration {
    fileprivate var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
