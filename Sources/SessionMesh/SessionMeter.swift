import CoreMetrics
import Synchronization

/// What the library counts of itself, for whatever metrics system the application has; with none, it costs next to nothing.
/// `Docs/OPERATING.md` says what each metric means, and a test holds the two together.
final class SessionMeter: Sendable {
    private let factory: (any MetricsFactory)?
    private let instruments = Mutex<Instruments?>(nil)

    /// Fields that are counted by name. An application that makes up names would otherwise fill its metrics system; the rest is `other`.
    static let fieldNamesMax = 128

    private struct Instruments {
        let connected: Gauge
        let outages: Counter
        let duration: Timer
        let waits: Counter
        /// As many as there are codes, and one.
        var requests: Family
        /// As many as there are kinds.
        var repeats: Family
        /// At most ``SessionMeter/fieldNamesMax``, and one.
        var unreadable: Family

        init(_ factory: any MetricsFactory) {
            connected = Gauge(label: "sessionmesh_client_connected", factory: factory)
            outages = Counter(label: "sessionmesh_client_outages_total", factory: factory)
            duration = Timer(label: "sessionmesh_client_request_duration_seconds", factory: factory)
            waits = Counter(label: "sessionmesh_client_waits_total", factory: factory)
            requests = Family(label: "sessionmesh_client_requests_total", dimension: "outcome", factory: factory)
            repeats = Family(label: "sessionmesh_client_repeats_total", dimension: "request", factory: factory)
            unreadable = Family(label: "sessionmesh_client_unreadable_fields_total", dimension: "field", factory: factory)
        }
    }

    /// The counters of one label, by the value of their dimension.
    private struct Family {
        let label: String
        let dimension: String
        let factory: any MetricsFactory
        var counters: [String: Counter] = [:]

        mutating func increment(_ value: String) {
            let counter = counters[value] ?? Counter(label: label, dimensions: [(dimension, value)], factory: factory)
            counters[value] = counter
            counter.increment()
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
            instruments.requests.increment(outcome)
        }
    }

    func repeated(_ request: String) { count { $0.repeats.increment(request) } }

    func foundUnreadable(_ field: String) {
        count { instruments in
            let isFull =
                instruments.unreadable.counters[field] == nil && instruments.unreadable.counters.count >= Self.fieldNamesMax
            instruments.unreadable.increment(isFull ? "other" : field)
        }
    }
}
