/// What agents say to each other over a peer link, where messages arrive whole and in order.
enum PeerMessage: Hashable, Sendable {
    /// Everything the sender knows of the members; see ``SWIM``.
    case membership([UInt8])
    /// Whoever introduced itself on this link goes on in this life. Until it is welcomed nothing but membership and messages counts.
    case renewed(Life)
    /// That life is known here; what follows is meant for it.
    case welcomed(Life)
    /// The sender's wall clock, in Unix milliseconds.
    case clock(Int64)
    /// Do this, as owner of its slot.
    case forward(id: UInt64, SessionOperation)
    case answer(id: UInt64, OperationResult)
    /// Owner to replica: this changed. `whole` says that it is all there is of the session, to be put in place of what is held.
    /// Ticket 0 wants no answer.
    case delta(SlotTenure, ticket: UInt64, SessionKey, SessionState, whole: Bool)
    /// Owner to replica: part of a whole slot.
    case sync(ticket: UInt64, [SyncChunk])
    /// Replica to owner: what came under this ticket is held.
    case ack(ticket: UInt64)
    /// Replica to owner: what came under this ticket is not held, and why. The copy is not what the owner takes it for.
    case refuse(SlotTenure, ticket: UInt64, Refusal)
    /// A greater tenure than the one just heard.
    case superseded([SlotTenure])
    /// Owner to rank 0: the slots are yours.
    case grant([SlotGrant])
    /// A new owner to those synced copies: I am owner in this tenure, and yours is whole.
    case lead([SlotTenure])
    /// Owner to former replica: the slot is safe without your copy.
    case release([SlotTenure])
    /// Holder of copies it does not rank for to rank 0: are they needed?
    case spare([SlotTenure])
    /// Somebody who is not owner gives what it has; the receiver merges.
    case push(ticket: UInt64, [SyncedSession])
    /// Rank 0 asks who has these slots.
    case claim([Slot])
    case claimAnswer(nothing: [Slot], held: [SlotTenure])
    /// A syncing node asks the owners for the slots it will rank for.
    case pull([Slot])
    /// An owner asks before it answers for these slots: am I owner? With `isTakeover` also: what do you hold of them?
    case inquire(round: UInt64, isTakeover: Bool, [SlotTenure])
    /// Every greater tenure has been told, and what is held here has been given.
    case inquired(round: UInt64)
    /// To an inquiry, before *inquired*: what was given of these slots is all that had been acknowledged in their last tenure.
    case whole([Slot])
    /// Owner to synced replica: sessions of these slots may live out of reach.
    case doubt([SlotDoubt])
    /// Owner to replicas: these expired.
    case drop([DroppedSession])
    /// Owner to replica: the sum of my digests of those of these slots that you hold synced copies of.
    case compare(SlotRange, sum: UInt64)
    /// Replica to owner: my sum is another.
    case differs(SlotRange)
    /// Owner to replica: my digest of each.
    case digests([SlotDigest])
    /// Replica to owner: my copies of these are not what yours are.
    case stale([SlotTenure])
    /// Owner to replica: the mirror holds these up to these stamps.
    case mirrored([MirroredSession])
    case message(ChannelMessage)
    /// Clients of the sender follow what becomes of sessions, or none does any more.
    case following(Following)
    /// Owner to who follows, to be acknowledged: what became of sessions. Gapped, something before was not told.
    case events(ticket: UInt64, isGapped: Bool, [SessionEvent])
    /// Go through those of these slots that you own.
    case walk(id: UInt64, WalkPurpose, SlotSet)
    /// To a walk: which slots that was, which sessions were found in them or how many were ended.
    case walked(id: UInt64, SlotSet, [SessionSummary], count: UInt64)
}

/// Why a replica does not take a change.
enum Refusal: UInt8, Hashable, Sendable {
    /// It is less than the whole session, and the copy it would go into is not whole: the replica began anew, or missed something.
    case copyNotWhole
}

/// A slot given to `tenure`'s owner. Those named hold synced copies; in another life of theirs they hold nothing.
struct SlotGrant: Hashable, Sendable {
    var slot: SlotTenure
    var synced: [MemberID]

    /// Two rank; the others had asked for it. Whoever is left out asks in time whether its copy is needed.
    static let syncedMax = 16
}

/// A slot and who may hold sessions of it that its owner doesn't know; nobody any more when empty.
struct SlotDoubt: Hashable, Sendable {
    var slot: SlotTenure
    var members: [NodeName]

    /// Who ranked, and who was owner.
    static let membersMax = 3
}

struct DroppedSession: Hashable, Sendable {
    var slot: SlotTenure
    var key: SessionKey
}

/// Slots from `first` to `last`, both of them among it.
struct SlotRange: Hashable, Sendable {
    var first: Slot
    var last: Slot

    /// Empty when they stand the wrong way round.
    var indices: Range<Int> { Int(first.rawValue)..<max(Int(first.rawValue), Int(last.rawValue) + 1) }
}

struct SyncChunk: Hashable, Sendable {
    var slot: SlotTenure
    var isFirst: Bool
    var isLast: Bool
    var sessions: [SyncedSession]
}

struct SyncedSession: Hashable, Sendable {
    var key: SessionKey
    var mirrored: Stamp
    var state: SessionState
}

struct MirroredSession: Hashable, Sendable {
    var key: SessionKey
    var stamp: Stamp
}

/// What an owner is asked to do.
enum SessionOperation: Hashable, Sendable {
    /// A visitor's request: reads, and counts as an access.
    case open(SessionKey)
    /// Only looks.
    case read(SessionKey)
    // Those that carry a commit are long, and an operation is handed on many times.

    /// Gives the session another id, which `draw` was drawn for, and commits.
    indirect case move(SessionKey, SessionCommit, to: SessionKey, draw: UInt64)
    indirect case commit(SessionKey, SessionCommit)
    /// Makes a session from `state` (nil: an empty one), then commits.
    indirect case create(SessionKey, SessionCommit, SessionState?)
    case destroy(SessionKey, CommitID)
    case publish(channel: String, payload: [UInt8])

    var slot: Slot {
        switch self {
        case .open(let key), .read(let key), .move(let key, _, _, _), .commit(let key, _), .create(let key, _, _), .destroy(let key, _):
            key.slot
        case .publish(let channel, _): Slot(channel: channel)
        }
    }

    /// Whether it does more to a session than to note an access.
    var changesSession: Bool {
        switch self {
        case .move, .commit, .create, .destroy: true
        case .open, .read, .publish: false
        }
    }

    /// What is to be committed; nil when that is not asked.
    var commit: SessionCommit? {
        switch self {
        case .move(_, let commit, _, _), .commit(_, let commit), .create(_, let commit, _): commit
        case .open, .read, .destroy, .publish: nil
        }
    }

    /// The session it is about; nil for a channel.
    var key: SessionKey? {
        switch self {
        case .open(let key), .read(let key), .move(let key, _, _, _), .commit(let key, _), .create(let key, _, _), .destroy(let key, _): key
        case .publish: nil
        }
    }
}

/// Who holds a commit.
struct CommitCopies: Hashable, Sendable {
    var isMirrored = false
    /// Nodes.
    var nodes: UInt8
}

enum OperationResult: Hashable, Sendable {
    case session(SessionSnapshot?)
    /// The id that it went to: the one that was asked for, or that of an earlier try.
    case moved(to: SessionKey, draw: UInt64, copies: UInt8, counters: [SessionSnapshot.Field])
    case committed(CommitCopies, counters: [SessionSnapshot.Field])
    case published(ChannelPosition)
    /// A condition doesn't hold.
    case conflict([SessionSnapshot.Field])
    case failed(ClientFailure)
    /// Not mine; whom to ask instead, if that is known.
    case elsewhere(MemberID?)
}
