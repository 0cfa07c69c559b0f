import Logging
import MeshAgent
import MeshCore

/// Follows the views of the balancer's agent: what the gate lets through becomes the loops' routing table.
actor RouteFollower {
    private var gate: ViewGate
    private var router: MeshRouter
    private let logger: Logger
    private let events: BalancerEvents
    private let onTable: @Sendable (RoutingTable) -> Void
    private let onBrake: @Sendable (ViewGate.Brake?) -> Void
    /// What the last table was made of.
    private var routed: MeshView?
    /// The gate's one timer.
    private var timer: Task<Void, Never>?

    init(
        router: MeshRouter, gate: ViewGate.Configuration, logger: Logger, events: BalancerEvents,
        onTable: @escaping @Sendable (RoutingTable) -> Void,
        onBrake: @escaping @Sendable (ViewGate.Brake?) -> Void
    ) {
        self.router = router
        self.gate = ViewGate(configuration: gate)
        self.logger = logger
        self.events = events
        self.onTable = onTable
        self.onBrake = onBrake
    }

    /// Until the views end or the task is cancelled.
    func follow(_ views: AsyncStream<MeshView>) async {
        for await view in views { step(.view(view)) }
        timer?.cancel()
    }

    /// Cookies of these keys count from now on, and no others.
    func accept(cookies: [CookieKey]) {
        router.cookieRing = cookies
        if let routed, let table = router.table(for: routed) { onTable(table) }
    }

    private func step(_ input: ViewGate.Input) {
        for directive in gate.step(input, at: SystemClock.now()) {
            switch directive {
            case .route(let view):
                routed = view
                guard let table = router.table(for: view) else { continue }
                onTable(table)
                events.routes(table, epoch: view.epoch)
            case .startTimer(let number, let wait):
                timer?.cancel()
                timer = Task { [weak self] in
                    // A cancelled one fires early, and is stale.
                    try? await Task.sleep(for: wait)
                    await self?.step(.timer(number))
                }
            case .braked(let brake):
                logger.warning(
                    """
                    \(brake.dead) of \(brake.nodes) nodes seem dead (\(brake.reason.rawValue)): as this may be a cut network, requests \
                    still go to all of them
                    """)
                events.brake(brake)
                onBrake(brake)
            case .released:
                logger.notice("enough nodes are back, or long gone: requests go by the view again")
                events.brake(nil)
                onBrake(nil)
            }
        }
    }
}

/// Makes routing tables of views, the placement only when who ranks has changed.
struct MeshRouter {
    private var service: String?
    private let isServiceGiven: Bool
    var cookieRing: [CookieKey]
    private let logger: Logger
    private var placement = PlacementTable()
    private var servicesTold: Set<String> = []

    init(service: String?, cookieRing: [CookieKey], logger: Logger) {
        self.service = service
        isServiceGiven = service != nil
        self.cookieRing = cookieRing
        self.logger = logger
    }

    /// Nil while it isn't known whose instances to route to.
    mutating func table(for view: MeshView) -> RoutingTable? {
        guard let service = chosenService(in: view) else { return nil }
        placement.replaceCandidates(with: view.placementCandidates)
        return RoutingTable(view: view, placement: placement, service: service, cookieRing: cookieRing)
    }

    /// The only service, once there is one, and then for good: a second one that appears must not take the first one's visitors.
    private mutating func chosenService(in view: MeshView) -> String? {
        if isServiceGiven { return service }
        let services = Set(view.instances.map(\.service))
        if service == nil, services.count == 1, let only = services.first {
            logger.info("requests go to the service \(only), the only one there is")
            service = only
        }
        if services.count > 1, services != servicesTold {
            servicesTold = services
            logger.warning(
                "the mesh has several services (\(services.sorted().joined(separator: ", "))), requests go to \(service ?? "none"): say --service"
            )
        }
        return service
    }
}
