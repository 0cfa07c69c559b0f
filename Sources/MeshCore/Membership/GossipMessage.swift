/// One gossip message: what is in a sealed packet, and one page of a state on a peer link.
public struct GossipMessage: Hashable, Sendable {
    public var sender: MemberID
    /// Of the sender's view; see ``MeshView/digest``.
    public var digest: UInt64
    public var kind: Kind
    public var facts: [Fact]

    public enum Kind: Hashable, Sendable {
        /// Asks `target` for a sign of life. Another life at that address doesn't answer for it.
        case ping(number: UInt32, target: MemberID)
        /// The sign: the sender lives.
        case ack(number: UInt32)
        /// Asks the receiver to ping `target` and to pass its sign on.
        case pingRequest(number: UInt32, target: MemberID, at: Endpoint)
        /// The sign of `subject`, passed on to who asked under `number`.
        case relayedAck(number: UInt32, subject: MemberID)
        /// Facts alone.
        case gossip
        /// "You speak of a life that is over; the last I know of that name is this."
        case stale(MemberID)
        /// A page of everything the sender believes. The last page may ask for the receiver's in return.
        case state(isLast: Bool, asking: Bool)
        /// "The name you go by is this living member's."
        case taken(MemberID)
        /// "My view differs from yours; these are its parts." The receiver answers with deltas.
        case digests(ViewBuckets)
        /// Facts of the parts that differ. The last of an answer has its sender's own digests, asking for the receiver's facts in return.
        case delta(asking: ViewBuckets?)
        /// The receiver's ping request of that number: `subject` has not answered the helper.
        case nack(number: UInt32, subject: MemberID)
    }

    public init(sender: MemberID, digest: UInt64, kind: Kind, facts: [Fact] = []) {
        self.sender = sender
        self.digest = digest
        self.kind = kind
        self.facts = facts
    }
}

// MARK: Coding

extension GossipMessage {
    static let version = MeshProtocol.version
    /// A version, a sender, a digest and the largest kind, a ping request: what facts leave room for.
    static let headBytesMax = 1 + idBytesMax + 8 + 1 + 4 + idBytesMax + endpointBytesMax

    static let idBytesMax = 1 + NodeName.bytesMax + 8
    static let endpointBytesMax = 1 + 16 + 2

    /// The message as bytes. One that ``SWIM`` made has at most ``PacketSealer/payloadBytesMax``.
    public var encoded: [UInt8] {
        var writer = ByteWriter(reserving: 256)
        writeHead(to: &writer)
        for fact in facts { fact.write(to: &writer) }
        return writer.bytes
    }

    /// - Throws: ``WireError`` for bytes that no agent of this version writes. Facts of an unknown kind are skipped, so that a newer agent
    ///   can say more than an older one understands.
    public init(decoding bytes: [UInt8]) throws(WireError) {
        guard bytes.count <= PacketSealer.payloadBytesMax else { throw .tooLarge }
        var reader = ByteReader(bytes)
        guard try reader.read(UInt8.self) == Self.version else { throw .wrongVersion }
        sender = try reader.readMemberID()
        digest = try reader.read()
        switch try reader.read(UInt8.self) {
        case 1: kind = .ping(number: try reader.read(), target: try reader.readMemberID())
        case 2: kind = .ack(number: try reader.read())
        case 3: kind = .pingRequest(number: try reader.read(), target: try reader.readMemberID(), at: try reader.readEndpoint())
        case 4: kind = .relayedAck(number: try reader.read(), subject: try reader.readMemberID())
        case 5: kind = .gossip
        case 6: kind = .stale(try reader.readMemberID())
        case 7:
            let flags = try reader.read(UInt8.self)
            guard flags <= 3 else { throw .unknownValue }
            kind = .state(isLast: flags & 1 != 0, asking: flags & 2 != 0)
        case 16: kind = .taken(try reader.readMemberID())
        case 8: kind = .nack(number: try reader.read(), subject: try reader.readMemberID())
        case 9: kind = .digests(try reader.readViewBuckets())
        case 10:
            switch try reader.read(UInt8.self) {
            case 0: kind = .delta(asking: nil)
            case 1: kind = .delta(asking: try reader.readViewBuckets())
            default: throw .unknownValue
            }
        default: throw .unknownValue
        }
        facts = []
        while !reader.isAtEnd {
            let tag = try reader.read(UInt8.self)
            let length = Int(try reader.read(UInt16.self))
            let body = try reader.read(raw: length)
            if let fact = try Fact(tag: tag, decoding: body) { facts.append(fact) }
        }
    }

    func writeHead(to writer: inout ByteWriter) {
        writer.write(Self.version)
        writer.write(sender)
        writer.write(digest)
        switch kind {
        case .ping(let number, let target):
            writer.write(1 as UInt8)
            writer.write(number)
            writer.write(target)
        case .ack(let number):
            writer.write(2 as UInt8)
            writer.write(number)
        case .pingRequest(let number, let target, let endpoint):
            writer.write(3 as UInt8)
            writer.write(number)
            writer.write(target)
            writer.write(endpoint)
        case .relayedAck(let number, let subject):
            writer.write(4 as UInt8)
            writer.write(number)
            writer.write(subject)
        case .gossip: writer.write(5 as UInt8)
        case .stale(let known):
            writer.write(6 as UInt8)
            writer.write(known)
        case .state(let isLast, let asking):
            writer.write(7 as UInt8)
            writer.write((isLast ? 1 : 0) | (asking ? 2 : 0) as UInt8)
        case .taken(let holder):
            writer.write(16 as UInt8)
            writer.write(holder)
        case .nack(let number, let subject):
            writer.write(8 as UInt8)
            writer.write(number)
            writer.write(subject)
        case .digests(let buckets):
            writer.write(9 as UInt8)
            writer.write(buckets)
        case .delta(let buckets):
            writer.write(10 as UInt8)
            writer.write((buckets == nil ? 0 : 1) as UInt8)
            if let buckets { writer.write(buckets) }
        }
    }
}
