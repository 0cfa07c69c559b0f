/// What became of a session.
///
/// Told at least once to whoever follows, and again after a node died or handed sessions over: drop what has the same ``key`` and ``kind`` as
/// an event before.
public struct SessionEvent: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case created
        /// It was not asked for, or grew older, than it may.
        case expired
        /// A request, or an operator, ended it.
        case destroyed
        /// It goes on under that key, as is due at a login. Of the new key there is no ``created``.
        case moved(to: SessionKey)

        /// Where it goes on, of one that moved.
        public var successor: SessionKey? { if case .moved(let successor) = self { successor } else { nil } }
    }

    public var key: SessionKey
    public var kind: Kind
    /// Unix milliseconds, by the mesh's clock.
    public var at: Int64

    public init(key: SessionKey, kind: Kind, at: Int64) {
        self.key = key
        self.kind = kind
        self.at = at
    }
}

extension SessionEvent.Kind: CustomStringConvertible {
    /// One word.
    public var description: String {
        switch self {
        case .created: "created"
        case .expired: "expired"
        case .destroyed: "destroyed"
        case .moved: "moved"
        }
    }
}
