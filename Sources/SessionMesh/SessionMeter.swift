import CoreMetrics
import Synchronization

/// What the library counts of itself, for whatever metrics system the application has; with none, it costs next to nothing.
/// `Docs/ARCHITECTURE.md` says what each metric means, and a test holds the two together.
final class SessionMeter: Sendable {
    private let factory: (any MetricsFactory)?
    private let instruments = Mutex<Instruments?>(nil)

    /// Fields that are counted by name. An application that makes up names would otherwise fill its metrics system; the rest is `other`.
    static let fieldNamesMax = 128

    private struct Instruments {
        let factory: any MetricsFactory
        let connected: Gauge
        let outages: Counter
        let duration: Timer
        let waits: Counter
        /// By outcome. As many as there are codes.
        var requests: [String: Counter] = [:]
        /// By request. As many as there are kinds.
        var repeats: [String: Counter] = [:]
        /// By field. At most ``SessionMeter/fieldNamesMax`` and one.
        var unreadable: [String: Counter] = [:]

        init(_ factory: any MetricsFactory) {
            self.factory = factory
            connected = Gauge(label: "sessionmesh_client_connected", factory: factory)
            outages = Counter(label: "sessionmesh_client_outages_total", factory: factory)
            duration = Timer(label: "sessionmesh_client_request_duration_seconds", factory: factory)
            waits = Counter(label: "sessionmesh_client_waits_total", factory: factory)
        }

        func counter(_ label: String, _ dimension: String, _ value: String) -> Counter {
            Counter(label: label, dimensions: [(dimension, value)], factory: factory)
        }
    }

    /// - Parameter factory: nil for the one that the process was bootstrapped with, by the time that there is something to count.
    init(factory: (any MetricsFactory)?) {
        self.factory = factory
    }

    private func count(_ body: (inout Instruments) -> Void) {
        instruments.withLock { instruments in
            var present = instruments ?? Instruments(factory ?? MetricsSystem.factory)
            // Handed over rather than shared, so that the tables aren't copied.
            instruments = nil
            body(&present)
            instruments = present
        }
    }

    func connected() { count { $0.connected.record(1) } }
    func disconnected() { count { $0.connected.record(0) } }
    func outageBegan() { count { $0.outages.increment() } }
    func waited() { count { $0.waits.increment() } }

    func answered(_ outcome: String, afterNanoseconds nanoseconds: Int64) {
        count { instruments in
            instruments.duration.recordNanoseconds(nanoseconds)
            let counter = instruments.requests[outcome] ?? instruments.counter("sessionmesh_client_requests_total", "outcome", outcome)
            instruments.requests[outcome] = counter
            counter.increment()
        }
    }

    func repeated(_ request: String) {
        count { instruments in
            let counter = instruments.repeats[request] ?? instruments.counter("sessionmesh_client_repeats_total", "request", request)
            instruments.repeats[request] = counter
            counter.increment()
        }
    }

    func foundUnreadable(_ field: String) {
        count { instruments in
            let isFull = instruments.unreadable[field] == nil && instruments.unreadable.count >= Self.fieldNamesMax
            let name = isFull ? "other" : field
            let counter = instruments.unreadable[name] ?? instruments.counter("sessionmesh_client_unreadable_fields_total", "field", name)
            instruments.unreadable[name] = counter
            counter.increment()
        }
    }
}
