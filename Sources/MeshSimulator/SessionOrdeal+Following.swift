import MeshCore

/// An application at every agent that follows what becomes of sessions, from the agent's start to its end.
struct FollowingApplications: Sendable {
    /// One for each run of an agent, in the order in which they were answered.
    private(set) var followings: [(following: History.Following, events: Set<SessionEvent>)] = []
    private var open: [NodeName: Int] = [:]
    private var requests: [UInt64: NodeName] = [:]

    /// Apart from the one whose requests the workload's are.
    static let client: UInt64 = 2

    /// The agent runs anew.
    mutating func start(at name: NodeName, of world: inout World, at now: Duration) {
        if let index = open.removeValue(forKey: name) { followings[index].following.ended = now }
        requests[world.submit(.follow, to: name, client: Self.client)] = name
    }

    /// False when it was another's request.
    mutating func answered(_ number: UInt64, at now: Duration) -> Bool {
        guard let name = requests.removeValue(forKey: number) else { return false }
        open[name] = followings.count
        followings.append((.init(agent: name.description, began: now), []))
        return true
    }

    mutating func lost(_ number: UInt64) -> Bool { requests.removeValue(forKey: number) != nil }

    mutating func take(from world: inout World) {
        for (name, push) in world.takePushes() {
            guard let index = open[name] else { continue }
            switch push {
            case .event(let event): followings[index].events.insert(event)
            case .gap: followings[index].following.isGapped = true
            case .message: break
            }
        }
    }

    /// - Parameter names: of the sessions whose keys clients were told. Of others they can't know what to expect.
    func told(_ names: [SessionKey: History.SessionName]) -> [History.Following] {
        followings.map { following, events in
            var following = following
            for event in events {
                guard let session = names[event.key], let what = History.Told.What(rawValue: event.kind.description) else { continue }
                following.told.insert(.init(session, what))
            }
            return following
        }
    }
}
