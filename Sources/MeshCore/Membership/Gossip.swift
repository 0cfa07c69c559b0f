/// The gossip layer as one value: membership, the seal around what it says, and a count of what was not let in. Bytes in, bytes out.
///
/// An agent holds one, and so does each member of a simulated mesh; neither sees a message that was not sealed by a holder of the key.
public struct Gossip: Sendable {
    public enum Input: Hashable, Sendable {
        /// Anything that happens to membership but a message, which comes in a packet.
        case membership(SWIM.Input)
        /// A UDP packet, as it came.
        case packet([UInt8], from: Endpoint)
        /// Other keys are to be used from now on.
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
    /// Sealed by a member and yet no message, by what is wrong with it.
    private var undecodable: [WireError: UInt64] = [:]

    /// - Parameters:
    ///   - local, seeds, seed, configuration: see ``SWIM/init(local:seeds:seed:configuration:)``.
    ///   - ring, label, sid: see ``PacketSealer/init(ring:label:sid:)``.
    public init(
        local: Member, seeds: [Endpoint], seed: UInt64, configuration: SWIM.Configuration = .init(), ring: GossipKeyRing, label: String,
        sid: UInt64
    ) throws(SWIM.InvalidLocalMember) {
        swim = try SWIM(local: local, seeds: seeds, seed: seed, configuration: configuration)
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
        case .membership(let input): return seal(swim.step(input, at: now))
        case .packet(let packet, let source): return receive(packet, from: source, at: now)
        case .ring(let ring):
            sealer.replaceRing(ring)
            return []
        }
    }

    /// See ``SWIM/beginNewLife(at:stage:after:)``.
    public mutating func beginNewLife(at now: Moment, stage: Stage, after known: Life? = nil) -> [Directive] {
        seal(swim.beginNewLife(at: now, stage: stage, after: known))
    }

    private mutating func receive(_ packet: [UInt8], from source: Endpoint, at now: Moment) -> [Directive] {
        // The sealer counts what it refuses.
        guard let payload = try? sealer.open(packet) else { return [] }
        do {
            return seal(swim.step(.message(try GossipMessage(decoding: payload), from: source), at: now))
        } catch {
            undecodable[error, default: 0] += 1
            return []
        }
    }

    private mutating func seal(_ asked: [SWIM.Directive]) -> [Directive] {
        var directives: [Directive] = []
        directives.reserveCapacity(asked.count)
        for directive in asked {
            guard case .send(let message, let endpoint) = directive else {
                directives.append(.membership(directive))
                continue
            }
            if let packet = sealer.seal(message.encoded) { directives.append(.packet(packet, to: endpoint)) }
        }
        return directives
    }
}
