/// What an agent answers to a ``ClientRequest``.
public enum ClientResponse: Hashable, Sendable {
    /// Done, with nothing more to say: ping, register, subscribe, unsubscribe, follow, unfollow, destroy.
    case done
    /// The session of a key. Nil is a synced copy's word that there is none; not knowing is ``ClientFailure/Code/unavailable``.
    case session(SessionSnapshot?)
    /// The session of a cookie; with the value that the browser should have in its place, when an older key signed it.
    case opened(SessionSnapshot, cookie: String?)
    /// A cookie opens no session.
    case absent(SessionAbsence)
    case committed(CommitReceipt)
    /// A condition of the commit doesn't hold, and nothing was changed. What is there now of the fields that its conditions name.
    case conflict([SessionSnapshot.Field])
    case listed(SessionPage)
    /// How many sessions were ended.
    case revoked(UInt64)
    case published(ChannelPosition)
    case members(MeshView)
    case placement(PlacementAnswer)
    case failure(ClientFailure)
}

/// A session as its primary has it.
public struct SessionSnapshot: Hashable, Sendable {
    public var key: SessionKey
    /// Unix milliseconds.
    public var createdAt: Int64
    /// Unix milliseconds.
    public var accessedAt: Int64
    public var idleSeconds: UInt32
    /// Unix milliseconds: when it expires if nobody asks for it before.
    public var expiresAt: Int64
    /// Empty when no user is bound.
    public var user: String
    /// In the order of their names.
    public var fields: [Field]
    /// The node that answered for the session, and the one that holds the second copy.
    public var primary: NodeName
    public var backup: NodeName?

    public struct Field: Hashable, Sendable {
        public var name: String
        public var value: FieldValue

        public init(name: String, value: FieldValue) {
            self.name = name
            self.value = value
        }
    }

    public init(
        key: SessionKey, createdAt: Int64, accessedAt: Int64, idleSeconds: UInt32, expiresAt: Int64, user: String, fields: [Field],
        primary: NodeName, backup: NodeName?
    ) {
        self.key = key
        self.createdAt = createdAt
        self.accessedAt = accessedAt
        self.idleSeconds = idleSeconds
        self.expiresAt = expiresAt
        self.user = user
        self.fields = fields
        self.primary = primary
        self.backup = backup
    }
}

/// What is to be known of a session without looking into it.
public struct SessionSummary: Hashable, Sendable {
    public var key: SessionKey
    /// Unix milliseconds, all three.
    public var createdAt: Int64
    public var accessedAt: Int64
    public var expiresAt: Int64
    public var fields: UInt16
    /// Of names and values.
    public var bytes: UInt32

    public init(key: SessionKey, createdAt: Int64, accessedAt: Int64, expiresAt: Int64, fields: UInt16, bytes: UInt32) {
        self.key = key
        self.createdAt = createdAt
        self.accessedAt = accessedAt
        self.expiresAt = expiresAt
        self.fields = fields
        self.bytes = bytes
    }
}

/// Some sessions of a user, in the order of their keys.
public struct SessionPage: Hashable, Sendable {
    public var sessions: [SessionSummary]
    /// To be asked for next, as ``ClientRequest/list(user:after:)``; nil when there is no more.
    public var next: SessionKey?

    public static let sessionsMax = 1000

    public init(sessions: [SessionSummary], next: SessionKey?) {
        self.sessions = sessions
        self.next = next
    }
}

public enum FieldValue: Hashable, Sendable {
    case bytes([UInt8])
    case integer(Int64)
    /// A set, in the order of the elements' bytes.
    case elements([[UInt8]])
}

/// A commit that is held as far as its acknowledgement says.
public struct CommitReceipt: Hashable, Sendable {
    /// The session's key: a new one after a create or a regenerate.
    public var key: SessionKey
    /// The cookie value to send to the browser; nil when the id did not change.
    public var cookie: String?
    /// How many nodes hold the commit: 2, or 1 when nobody else is alive or a local acknowledgement was asked for.
    public var copies: UInt8
    /// Whether the mirror is known to hold it too. False also when it was asked for and the mirror did not answer in time: the commit
    /// stands, and is written when the mirror is back.
    public var isMirrored: Bool
    /// The values after the commit of the counters that it incremented, in the order of their names.
    public var counters: [SessionSnapshot.Field]

    public init(key: SessionKey, cookie: String? = nil, copies: UInt8, isMirrored: Bool = false, counters: [SessionSnapshot.Field] = []) {
        self.key = key
        self.cookie = cookie
        self.copies = copies
        self.isMirrored = isMirrored
        self.counters = counters
    }
}

/// Where a message stands in its channel. Positions of different epochs can't be compared: a takeover opens a new epoch.
public struct ChannelPosition: Hashable, Sendable {
    public var epoch: UInt64
    public var offset: UInt64

    public init(epoch: UInt64, offset: UInt64) {
        self.epoch = epoch
        self.offset = offset
    }
}

/// One message of a channel, as a subscriber gets it.
public struct ChannelMessage: Hashable, Sendable {
    public var channel: String
    public var position: ChannelPosition
    public var payload: [UInt8]

    public init(channel: String, position: ChannelPosition, payload: [UInt8]) {
        self.channel = channel
        self.position = position
        self.payload = payload
    }
}

/// What an agent hands to a client unasked.
public enum ClientPush: Hashable, Sendable {
    case message(ChannelMessage)
    case event(SessionEvent)
    /// Events of sessions were not told to this client and won't be.
    case gap
}

public struct PlacementAnswer: Hashable, Sendable {
    public var slot: Slot
    /// Raised at each takeover.
    public var term: UInt64
    /// Every ranked node, from rank 0 down.
    public var ranking: [NodeName]

    public init(slot: Slot, term: UInt64, ranking: [NodeName]) {
        self.slot = slot
        self.term = term
        self.ranking = ranking
    }
}

/// Why a request was not done.
public struct ClientFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// No synced copy can be reached just now. Keep the cookie, answer 503, try again.
        case unavailable = "UNAVAILABLE"
        /// The session is gone: expired, destroyed or never was. Nothing was changed.
        case notFound = "NOTFOUND"
        /// A name, value or number is outside its bounds. Trying again can't help.
        case invalid = "INVALID"
        /// The agent holds as much as it may. Try again later.
        case full = "FULL"
    }

    public var code: Code
    /// One line for a person: what is wrong and what to do.
    public var description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
