import MeshCore

extension History {
    /// What one application was told of sessions by its agent.
    public struct Following: Hashable, Sendable {
        public var agent: String
        /// When it was told that it follows.
        public var began: Duration
        /// When its agent was gone; nil while it is not.
        public var ended: Duration?
        /// Whether it was told that something was left out.
        public var isGapped = false
        public var told: Set<Told> = []

        public init(agent: String, began: Duration) {
            self.agent = agent
            self.began = began
        }
    }

    public struct Told: Hashable, Sendable {
        public var session: SessionName
        public var what: What

        public enum What: String, Hashable, Sendable { case created, expired, destroyed, moved }

        public init(_ session: SessionName, _ what: What) {
            self.session = session
            self.what = what
        }
    }
}

/// Promise 11. Whoever follows is told of every session that began or ended meanwhile, or that something was left out; and of none that didn't.
public struct FollowingCheck: Check {
    public init() {}
    public var promise: SessionPromise { .told }

    public func counterexample(in history: History) -> Counterexample? {
        for story in Story.all(of: history) {
            for following in history.followings {
                if let untold = untold(story, to: following) { return untold }
            }
        }
        let possible = Set(history.operations.filter(\.mayHaveEffect).compactMap(\.tells))
        for following in history.followings {
            for told in following.told where told.what != .expired && !possible.contains(told) {
                return Counterexample(promise, "\(following.agent) was told that \(told.session) was \(told.what), which nobody asked for")
            }
        }
        return nil
    }

    private func untold(_ story: Story, to following: History.Following) -> Counterexample? {
        guard following.ended == nil, !following.isGapped else { return nil }
        for operation in story.operations where operation.invoked > following.began {
            if operation.isAcknowledged(needsCopies: true), let owed = operation.tells, !following.told.contains(owed) {
                return Counterexample(promise, "\(following.agent) was not told that \(owed.session) was \(owed.what)", [operation])
            }
            // Who asks for one that expired makes its owner notice, if it had not.
            if operation.outcome == .absent, story.idle != nil, !story.mayBeMoved(operation), !story.mayBeDestroyed(operation),
                let creation = story.creation, creation.invoked > following.began,
                !following.told.contains(.init(operation.session, .expired))
            {
                return Counterexample(promise, "\(following.agent) was not told that \(operation.session) expired", [creation, operation])
            }
        }
        return nil
    }
}

extension History.Operation {
    /// What those who follow are told when it is done.
    fileprivate var tells: History.Told? {
        switch action {
        case .create: .init(session, .created)
        case .destroy: .init(session, .destroyed)
        case .regenerate: .init(session, .moved)
        default: nil
        }
    }
}
