import Crypto

/// A TCP peer link between two agents, without the TCP: who proves what in which order, and where a frame ends.
///
/// ```
/// frame     = length 4 | body
/// initiator → hello: version, "I", key number, nonce 32           (clear)
/// acceptor  → hello: version, "A", key number, nonce 32           (clear)
///             proof: its member id and endpoint                   (sealed)
/// initiator → proof: its member id and endpoint                   (sealed)
/// both      → one or more messages, each length 4 | message       (sealed)
/// ```
///
/// Each direction has a key of its own from the gossip key and both nonces, and counts its frames; so nothing that was recorded on
/// another link, or sent by ourselves, opens here. Both hellos are associated data of the proofs. Until the peer's proof has opened, a
/// frame has at most 512 bytes and the machine keeps no more than one.
///
/// Limits: every holder of the key may claim to be any member. A link is never rekeyed; close it when its ``key`` is taken out of the ring. Closing a link
/// that has not been established after 5 s is the shell's job, as is bounding how many wait at once.
public struct PeerLinkMachine: Sendable {
    /// The longest message.
    public static let messageBytesMax = 1 << 20
    /// What a frame gathers of messages that are written together. A longer message has a frame of its own. As much as a socket takes at once:
    /// more would only keep the first message waiting for the last.
    public static let gatheredBytesMax = 64 << 10
    /// The longest frame of a peer that has proven nothing.
    public static let unprovenFrameBytesMax = 512
    public static let nonceBytes = 32

    static let version = MeshProtocol.version

    public enum Role: UInt8, Hashable, Sendable {
        case initiator = 0x49
        case acceptor = 0x41

        var other: Role { self == .initiator ? .acceptor : .initiator }
    }

    public enum Event: Hashable, Sendable {
        case send([UInt8])
        /// The peer has proven the key. Messages may be sealed from now on.
        case established(peer: MemberID, endpoint: Endpoint)
        case message([UInt8])
    }

    /// Why a link was given up. Close it; nothing more will come out of the machine.
    public enum Failure: Error, Hashable, Sendable, CaseIterable {
        case frameTooLarge
        /// A frame that no peer of this version writes here.
        case malformed
        case wrongVersion
        /// The peer named a key that is not in the ring.
        case unknownKey
        /// Our own hello, or one of our own role, came back.
        case reflected
        /// Not sealed by a holder of the key, replayed, or changed on the way.
        case badSeal
        /// A message was to be sealed before the peer had proven the key.
        case notEstablished
    }

    private enum State: Sendable {
        /// Can transition to awaitingProof, failed.
        case awaitingHello
        /// Can transition to established, failed.
        case awaitingProof(transcript: [UInt8])
        /// Can transition to failed.
        case established
        case failed(Failure)
    }

    private let role: Role
    private let ring: GossipKeyRing
    /// The key of an initiator's hello.
    private let offer: GossipKey
    /// The key this link is sealed with, once both have said hello.
    public private(set) var key: GossipKey?
    private let label: [UInt8]
    private let nonce: [UInt8]
    private let local: MemberID
    private let localEndpoint: Endpoint
    private var state = State.awaitingHello
    private var outgoing: Direction?
    private var incoming: Direction?
    /// The messages of the frame that is sealed next, each behind its length.
    private var gathered = ByteWriter()
    /// The frame being received, its length included.
    private var frame: [UInt8] = []

    private struct Direction: Sendable {
        var key: SymmetricKey
        var counter: UInt64 = 0

        mutating func nextCounter() -> UInt64 {
            counter += 1
            return counter
        }
    }

    /// - Parameters:
    ///   - offer: the key of an initiator's hello: one of the ring that the acceptor may know, by default the one that is used.
    ///   - nonce: 32 random bytes, new for each link, from the operating system. Any other length is the caller's mistake.
    public init(
        role: Role, ring: GossipKeyRing, offer: GossipKey? = nil, label: String, nonce: [UInt8], local: MemberID, endpoint: Endpoint
    ) {
        precondition(nonce.count == Self.nonceBytes, "a link's nonce has \(Self.nonceBytes) bytes, got \(nonce.count)")
        self.role = role
        self.ring = ring
        self.offer = offer ?? ring.sealing
        self.label = Array(label.utf8)
        self.nonce = nonce
        self.local = local
        localEndpoint = endpoint
    }

    public var isEstablished: Bool {
        if case .established = state { true } else { false }
    }

    /// What to send as soon as the connection is open: the initiator's hello; the acceptor waits for it.
    public func start() -> [Event] {
        role == .initiator ? [.send(Self.framed(hello(keyNumber: offer.number)))] : []
    }

    /// Takes bytes as they come, in any pieces.
    public mutating func receive(_ bytes: [UInt8]) throws(Failure) -> [Event] {
        if case .failed(let failure) = state { throw failure }
        var events: [Event] = []
        do {
            var rest = bytes[...]
            while !rest.isEmpty {
                // Only what the frame lacks is taken, so the buffer never grows past one frame that was found short enough.
                let lacking = rest.prefix(try frameBytes() - frame.count)
                frame.append(contentsOf: lacking)
                rest = rest.dropFirst(lacking.count)
                guard frame.count >= Self.lengthBytes, frame.count == (try frameBytes()) else { continue }
                let body = frame[Self.lengthBytes...]
                events += try take(body)
                frame.removeAll(keepingCapacity: frame.count <= Self.unprovenFrameBytesMax)
            }
        } catch {
            state = .failed(error)
            frame = []
            throw error
        }
        return events
    }

    /// Puts `message` into the frame that is sealed next. Gives the frame before it, when both don't fit into one; write that first.
    public mutating func gather(_ message: [UInt8]) throws(Failure) -> [UInt8]? {
        switch state {
        case .failed(let failure): throw failure
        case .awaitingHello, .awaitingProof: throw .notEstablished
        case .established: break
        }
        guard message.count <= Self.messageBytesMax else { throw .frameTooLarge }
        let isFull = gathered.count + Self.lengthBytes + message.count > Self.gatheredBytesMax
        let full = isFull ? try seal() : nil
        gathered.write(long: message)
        return full
    }

    /// The frame of what was gathered; nil when nothing was.
    public mutating func seal() throws(Failure) -> [UInt8]? {
        guard gathered.count > 0 else { return nil }
        defer { gathered.removeAll(keepingCapacityOf: Self.gatheredBytesMax) }
        return try sealedFrame(gathered.bytes, associated: [])
    }

    // MARK: Handshake

    private mutating func take(_ body: ArraySlice<UInt8>) throws(Failure) -> [Event] {
        switch state {
        case .failed(let failure): throw failure
        case .awaitingHello: return try takeHello(body)
        case .awaitingProof(let transcript): return try takeProof(body, transcript: transcript)
        case .established: return try messages(in: try open(body, associated: []))
        }
    }

    private func messages(in plain: [UInt8]) throws(Failure) -> [Event] {
        var reader = ByteReader(plain)
        var events: [Event] = []
        do {
            repeat { events.append(.message(Array(try reader.readLong(limit: Self.messageBytesMax)))) } while !reader.isAtEnd
        } catch { throw .malformed }
        return events
    }

    private mutating func takeHello(_ body: ArraySlice<UInt8>) throws(Failure) -> [Event] {
        // The rest may look otherwise in another version.
        guard body.first == Self.version else { throw .wrongVersion }
        guard let theirs = Hello(body) else { throw .malformed }
        guard theirs.role == role.other.rawValue else { throw theirs.role == role.rawValue ? .reflected : .malformed }
        guard theirs.nonce != nonce else { throw .reflected }
        // The initiator chose the key; an acceptor that answers with another is no peer of ours.
        guard let key = ring[theirs.keyNumber], role == .acceptor || key == offer else { throw .unknownKey }

        let mine = hello(keyNumber: key.number)
        let transcript = role == .initiator ? mine + Array(body) : Array(body) + mine
        let salt = role == .initiator ? nonce + theirs.nonce : theirs.nonce + nonce
        func direction(from sender: Role) -> Direction {
            let info = Array("sessionmesh link 1 ".utf8) + [sender.rawValue] + label
            return Direction(key: AEAD.derive(from: key, salt: salt, info: info))
        }
        self.key = key
        outgoing = direction(from: role)
        incoming = direction(from: role.other)
        state = .awaitingProof(transcript: transcript)
        guard role == .acceptor else { return [] }
        return [.send(Self.framed(mine) + (try proof(transcript: transcript)))]
    }

    private mutating func takeProof(_ body: ArraySlice<UInt8>, transcript: [UInt8]) throws(Failure) -> [Event] {
        var reader = ByteReader(try open(body, associated: transcript))
        let peer: MemberID
        let endpoint: Endpoint
        do {
            peer = try reader.readMemberID()
            endpoint = try reader.readEndpoint()
            try reader.finish()
        } catch { throw .malformed }
        let answer: [Event] = role == .initiator ? [.send(try proof(transcript: transcript))] : []
        state = .established
        return answer + [.established(peer: peer, endpoint: endpoint)]
    }

    private mutating func proof(transcript: [UInt8]) throws(Failure) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(local)
        writer.write(localEndpoint)
        return try sealedFrame(writer.bytes, associated: transcript)
    }

    private struct Hello {
        var version: UInt8
        var role: UInt8
        var keyNumber: UInt16
        var nonce: [UInt8]

        init?(_ bytes: ArraySlice<UInt8>) {
            var reader = ByteReader(bytes)
            guard let version = try? reader.read(UInt8.self), let role = try? reader.read(UInt8.self),
                let keyNumber = try? reader.read(UInt16.self), let nonce = try? reader.read(raw: PeerLinkMachine.nonceBytes),
                reader.isAtEnd
            else { return nil }
            (self.version, self.role, self.keyNumber, self.nonce) = (version, role, keyNumber, Array(nonce))
        }
    }

    private func hello(keyNumber: UInt16) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.version)
        writer.write(role.rawValue)
        writer.write(keyNumber)
        writer.write(raw: nonce)
        return writer.bytes
    }

    // MARK: Frames

    private static let lengthBytes = 4

    private static func framed(_ body: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(reserving: lengthBytes + body.count)
        writer.write(long: body)
        return writer.bytes
    }

    /// How long the frame being received is, as far as that is known.
    private func frameBytes() throws(Failure) -> Int {
        guard frame.count >= Self.lengthBytes else { return Self.lengthBytes }
        let length = frame[..<Self.lengthBytes].reduce(0) { $0 << 8 | Int($1) }
        let longest = Self.lengthBytes + Self.messageBytesMax + PacketSealer.tagBytes
        let limit = isEstablished ? longest : Self.unprovenFrameBytesMax
        guard length <= limit else { throw .frameTooLarge }
        // An empty body would be complete before a byte of it came.
        guard length > 0 else { throw .malformed }
        return Self.lengthBytes + length
    }

    mutating func sealedFrame(_ plain: [UInt8], associated: [UInt8]) throws(Failure) -> [UInt8] {
        let length = plain.count + PacketSealer.tagBytes
        var frame = ByteWriter(reserving: Self.lengthBytes + length)
        frame.write(UInt32(length))
        guard let counter = outgoing?.nextCounter(), let key = outgoing?.key,
            AEAD.seal(plain, key: key, counter: counter, associated: associated, to: &frame)
        else { throw .notEstablished }
        return frame.bytes
    }

    private mutating func open(_ body: ArraySlice<UInt8>, associated: [UInt8]) throws(Failure) -> [UInt8] {
        guard let counter = incoming?.nextCounter(), let key = incoming?.key,
            let plain = AEAD.open(body, key: key, counter: counter, associated: associated)
        else { throw .badSeal }
        return plain
    }
}
