/// The gossip layer as one value: membership, the seal around what it says, and a count of what was not let in. Bytes in, bytes out.
///
/// An agent holds one, and so does each member of a simulated mesh; neither sees a message that was not sealed by a holder of the key.
public struct Gossip: Sendable {
    public enum Input: Hashable, Sendable {
        /// Anything that happens to membership but a message, which comes in a packet.
        case membership(SWIM.Input)
        /// A UDP packet, as it came.
        case packet([UInt8], from: Endpoint)
        /// What the key file says of gossip keys now; see ``load(_:cookies:force:at:)``.
        case ring(GossipKeyRing)
    }

    public enum Directive: Hashable, Sendable {
        /// Send it by UDP. May be lost.
        case packet([UInt8], to: Endpoint)
        /// What membership asks for; never ``SWIM/Directive/send(_:to:)``.
        case membership(SWIM.Directive)
    }

    public private(set) var swim: SWIM
    private var sealer: PacketSealer
    private var rotation: KeyRotation
    /// Nil for who has no cookie keys.
    public private(set) var cookieRotation: CookieRotation?
    private var consideredEpoch: UInt64 = 0
    /// Counts the rings that were put in force.
    public private(set) var ringCount: UInt64 = 0
    /// The same of cookie keys, and how far members were told.
    public private(set) var cookieRingCount: UInt64 = 0
    private var cookieRingTold: UInt64 = 0
    /// Sealed by a member and yet no message, by what is wrong with it.
    private var undecodable: [WireError: UInt64] = [:]

    /// - Parameters:
    ///   - local, seeds, seedsAreComplete, remembered, seed, configuration: see
    ///     ``SWIM/init(local:seeds:seedsAreComplete:remembered:seed:configuration:)``.
    ///   - ring, label, sid: see ``PacketSealer/init(ring:label:sid:)``.
    ///   - cookies: the cookie ring, of which members tell each other as of the gossip ring.
    public init(
        local: Member, seeds: [Endpoint], seedsAreComplete: Bool = true, remembered: [Member] = [], seed: UInt64,
        configuration: SWIM.Configuration = .init(), ring: GossipKeyRing, cookies: [CookieKey] = [], label: String,
        sid: UInt64
    ) throws(SWIM.InvalidLocalMember) {
        rotation = KeyRotation(ring)
        cookieRotation = CookieRotation(cookies)
        var local = local
        local.keys = ring.marks
        local.cookieKeys = cookieRotation?.marks ?? []
        swim = try SWIM(
            local: local, seeds: seeds, seedsAreComplete: seedsAreComplete, remembered: remembered, seed: seed, configuration: configuration
        )
        sealer = PacketSealer(ring: ring, label: label, sid: sid)
    }

    /// How many packets were not used, by reason.
    public var packetsDropped: [String: UInt64] {
        var dropped: [String: UInt64] = [:]
        for (refusal, count) in sealer.refusals { dropped["\(refusal)", default: 0] += count }
        for (error, count) in undecodable { dropped["\(error)", default: 0] += count }
        return dropped
    }

    public mutating func step(_ input: Input, at now: Moment) -> [Directive] {
        switch input {
        case .membership(let input): seal(swim.step(input, at: now), at: now) + considerKeys(at: now)
        case .packet(let packet, let source): receive(packet, from: source, at: now) + considerKeys(at: now)
        // The ring in force goes on if this one can't follow it.
        case .ring(let ring): (try? load(ring, cookies: cookieRotation?.file ?? [], force: false, at: now)) ?? []
        }
    }

    // MARK: Keys

    /// The keys in force.
    public var ring: GossipKeyRing { rotation.ring }

    /// Takes what the key file says now, and follows it as far as the other members allow; see ``KeyRotation`` and ``CookieRotation``. A file
    /// that is refused changes nothing of either.
    public mutating func load(
        _ ring: GossipKeyRing, cookies: [CookieKey], force: Bool, at now: Moment
    ) throws(KeyRotation.Problem) -> [Directive] {
        var (nextRotation, nextCookies) = (rotation, cookieRotation)
        try nextRotation.load(ring, force: force)
        try nextCookies?.load(cookies, force: force)
        if nextCookies != cookieRotation { cookieRingCount += 1 }
        (rotation, cookieRotation) = (nextRotation, nextCookies)
        consideredEpoch = swim.epoch &- 1
        return considerKeys(at: now)
    }

    private mutating func considerKeys(at now: Moment) -> [Directive] {
        guard swim.epoch != consideredEpoch else { return [] }
        consideredEpoch = swim.epoch
        var isNew = cookieRingCount != cookieRingTold
        guard isNew || rotation.hasChoice || cookieRotation?.hasChoice ?? false else { return [] }
        let others = swim.others.filter(\.status.isReachable)
        if rotation.consider(others) {
            isNew = true
            ringCount += 1
            sealer.replaceRing(rotation.ring)
        }
        if cookieRotation?.consider(others) ?? false {
            isNew = true
            cookieRingCount += 1
        }
        guard isNew else { return [] }
        cookieRingTold = cookieRingCount
        return seal(swim.step(.setKeys(rotation.ring.marks, cookies: cookieRotation?.marks ?? []), at: now), at: now)
    }

    public var keyReport: KeyReport {
        let holders = (swim.others.filter(\.status.isReachable) + [swim.local]).sorted { $0.name < $1.name }
        return KeyReport(
            members: holders.map { KeyReport.Holder(name: $0.name, keys: $0.keys, cookieKeys: $0.cookieKeys) },
            wanted: rotation.file.sealing.mark, used: rotation.ring.sealing.mark, kept: rotation.kept.map(\.mark),
            cookies: cookieRotation.flatMap { cookies in
                cookies.file.last.map { KeyReport.Cookies(wanted: $0.mark, used: cookies.signing.mark) }
            })
    }

    /// See ``SWIM/beginNewLife(at:stage:after:)``.
    public mutating func beginNewLife(at now: Moment, stage: Stage, after known: Life? = nil) -> [Directive] {
        // What the members allow is considered at the next step.
        seal(swim.beginNewLife(at: now, stage: stage, after: known), at: now)
    }

    private mutating func receive(_ packet: [UInt8], from source: Endpoint, at now: Moment) -> [Directive] {
        // The sealer counts what it refuses.
        guard let opened = try? sealer.open(packet, from: source, at: now) else { return [] }
        var directives: [Directive] = []
        if let reply = opened.reply { directives.append(.packet(reply.packet, to: reply.endpoint)) }
        if let payload = opened.payload {
            do {
                directives += seal(swim.step(.message(try GossipMessage(decoding: payload), from: source), at: now), at: now)
            } catch {
                undecodable[error, default: 0] += 1
            }
        }
        // What was asked goes with the reply to the message, if there is one.
        if let answer = sealer.settle() { directives.append(.packet(answer.packet, to: answer.endpoint)) }
        return directives
    }

    private mutating func seal(_ asked: [SWIM.Directive], at now: Moment) -> [Directive] {
        var directives: [Directive] = []
        directives.reserveCapacity(asked.count)
        for directive in asked {
            guard case .send(let message, let endpoint) = directive else {
                directives.append(.membership(directive))
                continue
            }
            if let packet = sealer.seal(message.encoded, to: endpoint, at: now) { directives.append(.packet(packet, to: endpoint)) }
        }
        return directives
    }
}
