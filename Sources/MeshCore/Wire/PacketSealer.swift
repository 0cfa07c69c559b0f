import Crypto

/// Seals gossip into packets and opens those of others.
///
/// ```
/// version and flags 1 | key number 2 | sid 8 | counter 8 | ciphertext | tag 16
/// plaintext = question 16, if flagged | answer 16, if flagged | message
/// ```
///
/// The clear header and the mesh's label are associated data. Each process start draws a random `sid` and derives its key from the
/// gossip key with it, so the counter can be the nonce: no two packets share key and nonce unless two processes draw the same 64 bits.
///
/// A sender must prove once that it speaks now, not that it once did; see ``Challenge``. What it said before is not used, and it is asked:
///
/// ```
/// ann → bob   ping                         bob doesn't know ann: not used
/// bob → ann   question                     smaller than what caused it, ten a second
/// ann → bob   answer, question, ping       ann doesn't know bob either; bob takes the ping
/// bob → ann   answer, ack                  both are proven; from now on packets carry no byte more
/// ```
///
/// So a packet recorded before this process started, or before it forgot the sender, is refused: its counter is below that of the answer,
/// or its sender is gone and can't answer. Whoever has no key gets no sign that somebody is there.
///
/// What it can't do: a packet is good for any receiver, and for each of them once, as long as its sender lives and is not far ahead. Held
/// back and played to another member it says nothing that the order of lives and incarnations doesn't already place.
public struct PacketSealer: Sendable {
    /// Below the smallest MTU on the way, so that no packet is fragmented.
    public static let packetBytesMax = 1200
    public static let overheadBytes = headerBytes + tagBytes
    /// The longest message that a packet carries. A question and an answer fit beside it, so that any message can be repeated with them.
    public static let payloadBytesMax = packetBytesMax - overheadBytes - 2 * Challenge.bytes
    /// Proven senders remembered at once: as many as a mesh has members, of about 300 bytes each. When all places are taken the one heard
    /// least recently goes, and must prove itself again.
    public static let sendersMax = 4096

    static let headerBytes = 19
    static let tagBytes = 16
    /// A packet with a question or an answer and nothing else.
    static let bareBytes = overheadBytes + Challenge.bytes

    private enum Flag {
        static let question: UInt8 = 0x80
        static let answer: UInt8 = 0x40
        static let none: UInt8 = 0x3F
    }

    public let sid: UInt64
    /// How many packets were refused, and why.
    public private(set) var refusals: [Refusal: UInt64] = [:]

    private var ring: GossipKeyRing
    private let label: [UInt8]
    private var sealingKey: SymmetricKey
    private var counter: UInt64 = 0
    private var senders: [Sender] = []
    /// Looked up, never walked.
    private var senderIndex: [UInt64: Int] = [:]
    private var useCount: UInt64 = 0

    private var challenge: Challenge
    private var sent = SentMessages()
    private var strangers = Strangers()
    /// What the packet just opened asked, until something goes there to carry the answer.
    private var owed: (answer: [UInt8], to: Endpoint)?

    private struct Sender {
        var sid: UInt64
        var keyNumber: UInt16
        /// Derived once, so that a packet costs no HKDF. Nil after the ring was replaced.
        var key: SymmetricKey?
        var window: ReplayWindow
        var lastUse: UInt64
    }

    /// Why a packet was refused. Only holders of the key can cause the last three.
    public enum Refusal: Error, Hashable, Sendable, CaseIterable {
        /// Shorter or longer than any packet.
        case badLength
        case wrongVersion
        /// Sealed with a key that is not in the ring.
        case unknownKey
        /// Not sealed by a holder of the key for this mesh, or changed on the way.
        case badSeal
        /// One of ours came back.
        case reflected
        /// Opened before, or too old to know.
        case replayed
        /// Of a sender that has proven nothing here. It was asked, and repeats what it said if it lives: a few of these come with each newcomer.
        case unproven
        /// The same, and it was not asked: the packet was too short, or too many were asked.
        case unasked
        /// It answers a question that was not put to that sender, there, a moment ago.
        case staleAnswer
    }

    /// A packet that was sealed well.
    public struct Opened: Hashable, Sendable {
        /// The message; nil when there was none, or when its sender has to prove itself first.
        public var payload: [UInt8]?
        /// To be sent at once.
        public var reply: Addressed?
    }

    public struct Addressed: Hashable, Sendable {
        public var packet: [UInt8]
        public var endpoint: Endpoint
    }

    /// - Parameters:
    ///   - label: the mesh's name; two meshes that share a key but not a label don't hear each other.
    ///   - sid: random, new at each process start, from the operating system.
    public init(ring: GossipKeyRing, label: String, sid: UInt64) {
        self.ring = ring
        self.label = Array(label.utf8)
        self.sid = sid
        sealingKey = Self.derive(from: ring.sealing, sid: sid, label: self.label)
        // Nobody without the key can compute it, and a later run has another sid: all that questions need.
        challenge = Challenge(secret: Self.derive(from: ring.sealing, sid: sid, label: self.label, use: "challenge"))
    }

    /// Takes another ring into use. The counter goes on, so nothing that was sent can be replayed; who was proven stays so.
    public mutating func replaceRing(_ ring: GossipKeyRing) {
        self.ring = ring
        sealingKey = Self.derive(from: ring.sealing, sid: sid, label: label)
        // A number may name another secret now.
        for index in senders.indices { senders[index].key = nil }
        strangers = Strangers()
    }

    // MARK: Sealing

    /// The packet that carries `payload` to `endpoint`; nil when that is longer than ``payloadBytesMax``.
    public mutating func seal(_ payload: [UInt8], to endpoint: Endpoint, at now: Moment) -> [UInt8]? {
        guard payload.count <= Self.payloadBytesMax else { return nil }
        var answer: [UInt8]?
        if let owed, owed.to == endpoint {
            answer = owed.answer
            self.owed = nil
        }
        let packet = sealed(payload, answer: answer)
        sent.add(SentMessages.Message(counter: counter, endpoint: endpoint, payload: payload, at: now.uptime))
        return packet
    }

    /// The answer that nothing has carried since the last packet was opened.
    public mutating func settle() -> Addressed? {
        guard let owed else { return nil }
        self.owed = nil
        return sealed([], answer: owed.answer).map { Addressed(packet: $0, endpoint: owed.to) }
    }

    private mutating func sealed(_ payload: [UInt8], question: [UInt8]? = nil, answer: [UInt8]? = nil) -> [UInt8]? {
        counter += 1
        let plain = question == nil && answer == nil ? payload : (question ?? []) + (answer ?? []) + payload
        var packet = ByteWriter(reserving: Self.overheadBytes + plain.count)
        packet.write(MeshProtocol.version | (question == nil ? 0 : Flag.question) | (answer == nil ? 0 : Flag.answer))
        packet.write(ring.sealing.number)
        packet.write(sid)
        packet.write(counter)
        let isSealed = AEAD.seal(plain, key: sealingKey, counter: counter, associated: packet.bytes + label, to: &packet)
        return isSealed ? packet.bytes : nil
    }

    // MARK: Opening

    /// What is inside a packet of another process.
    public mutating func open(_ packet: [UInt8], from source: Endpoint, at now: Moment) throws(Refusal) -> Opened {
        do { return try openUncounted(packet, from: source, at: now) } catch {
            refusals[error, default: 0] += 1
            throw error
        }
    }

    /// A packet's clear header and its content.
    private struct Letter {
        var sid: UInt64
        var counter: UInt64
        var keyNumber: UInt16
        var key: SymmetricKey
        var question: ArraySlice<UInt8>?
        var answer: ArraySlice<UInt8>?
        var payload: ArraySlice<UInt8>
    }

    private mutating func openUncounted(_ packet: [UInt8], from source: Endpoint, at now: Moment) throws(Refusal) -> Opened {
        guard packet.count >= Self.overheadBytes, packet.count <= Self.packetBytesMax else { throw .badLength }
        guard packet[0] & Flag.none == MeshProtocol.version else { throw .wrongVersion }
        let senderSid = packet[3..<11].reduce(0) { $0 << 8 | UInt64($1) }
        guard senderSid != sid else { throw .reflected }
        let known = senderIndex[senderSid]
        // A replay is refused before it costs a decryption.
        if let known, !senders[known].window.accepts(packet[11..<19].reduce(0) { $0 << 8 | UInt64($1) }) { throw .replayed }

        let letter = try unseal(packet, of: senderSid, known: known)
        let index: Int
        if let known {
            index = known
        } else if let answer = letter.answer, challenge.recognises(answer, from: senderSid, at: source, now: now) {
            index = place(for: letter)
        } else {
            return try examine(letter, bytes: packet.count, from: source, at: now)
        }
        useCount += 1
        senders[index].lastUse = useCount
        senders[index].keyNumber = letter.keyNumber
        senders[index].key = letter.key
        senders[index].window.record(letter.counter)
        return take(letter, from: source, at: now)
    }

    private mutating func unseal(_ packet: [UInt8], of sender: UInt64, known: Int?) throws(Refusal) -> Letter {
        let keyNumber = UInt16(packet[1]) << 8 | UInt16(packet[2])
        let counter = packet[11..<19].reduce(0) { $0 << 8 | UInt64($1) }
        guard let root = ring[keyNumber] else { throw .unknownKey }
        let key: SymmetricKey
        if let known, senders[known].keyNumber == keyNumber, let derived = senders[known].key {
            key = derived
        } else if known == nil, let derived = strangers.key(of: sender, number: keyNumber) {
            key = derived
        } else {
            key = Self.derive(from: root, sid: sender, label: label)
        }
        let header = packet[..<Self.headerBytes]
        guard let plain = AEAD.open(packet[Self.headerBytes...], key: key, counter: counter, associated: header + label) else {
            throw .badSeal
        }
        let flags = packet[0]
        var rest = plain[...]
        func token(_ flag: UInt8) throws(Refusal) -> ArraySlice<UInt8>? {
            guard flags & flag != 0 else { return nil }
            guard rest.count >= Challenge.bytes else { throw .badLength }
            defer { rest = rest.dropFirst(Challenge.bytes) }
            return rest.prefix(Challenge.bytes)
        }
        let question = try token(Flag.question)
        let answer = try token(Flag.answer)
        return Letter(sid: sender, counter: counter, keyNumber: keyNumber, key: key, question: question, answer: answer, payload: rest)
    }

    /// A letter of a proven sender.
    private mutating func take(_ letter: Letter, from source: Endpoint, at now: Moment) -> Opened {
        var opened = Opened(payload: Array(letter.payload))
        if letter.payload.isEmpty, letter.question != nil || letter.answer != nil { opened.payload = nil }
        guard let question = letter.question.map(Array.init) else { return opened }
        if let message = sent.take(Challenge.subject(of: question[...]), at: now) {
            opened.reply = sealed(message.payload, answer: question).map { Addressed(packet: $0, endpoint: message.endpoint) }
        } else {
            owed = (question, source)
        }
        return opened
    }

    /// A letter of a sender that has proven nothing. It may itself be the question about what was sent to it: then the answer and a question
    /// in return go out with that message, to where it went before. To anything else there is no more than a question.
    private mutating func examine(_ letter: Letter, bytes: Int, from source: Endpoint, at now: Moment) throws(Refusal) -> Opened {
        strangers.add(letter.key, of: letter.sid, number: letter.keyNumber)
        func question() -> [UInt8] { challenge.question(to: letter.sid, about: letter.counter, at: source, now: now) }

        if let theirs = letter.question, let message = sent.take(Challenge.subject(of: theirs), at: now) {
            refusals[.unproven, default: 0] += 1
            let packet = sealed(message.payload, question: question(), answer: Array(theirs))
            return Opened(payload: nil, reply: packet.map { Addressed(packet: $0, endpoint: message.endpoint) })
        }
        guard bytes > Self.bareBytes, challenge.mayAsk(source, at: now) else { throw .unasked }
        refusals[letter.answer == nil ? .unproven : .staleAnswer, default: 0] += 1
        return Opened(payload: nil, reply: sealed([], question: question()).map { Addressed(packet: $0, endpoint: source) })
    }

    // MARK: Senders

    private mutating func place(for letter: Letter) -> Int {
        let sender = Sender(
            sid: letter.sid, keyNumber: letter.keyNumber, key: letter.key, window: ReplayWindow(seenUpTo: letter.counter), lastUse: 0)
        guard senders.count >= Self.sendersMax, let oldest = senders.indices.min(by: { senders[$0].lastUse < senders[$1].lastUse }) else {
            senders.append(sender)
            senderIndex[letter.sid] = senders.count - 1
            return senders.count - 1
        }
        senderIndex[senders[oldest].sid] = nil
        senders[oldest] = sender
        senderIndex[letter.sid] = oldest
        return oldest
    }

    static func derive(from key: GossipKey, sid: UInt64, label: [UInt8], use: String = "packet") -> SymmetricKey {
        var salt = ByteWriter()
        salt.write(sid)
        return AEAD.derive(from: key, salt: salt.bytes, info: Array("sessionmesh \(use) 1 ".utf8) + label)
    }
}

/// Keys of senders that are being asked, so that an answer costs no second HKDF. They hold the mesh's key and nothing else is known of them.
private struct Strangers: Sendable {
    /// About as many as are asked within a round trip. When full the oldest goes, and its next packet costs an HKDF.
    static let max = 64

    private var ring: [(sid: UInt64, number: UInt16, key: SymmetricKey)] = []
    private var next = 0

    func key(of sid: UInt64, number: UInt16) -> SymmetricKey? {
        ring.first { $0.sid == sid && $0.number == number }?.key
    }

    mutating func add(_ key: SymmetricKey, of sid: UInt64, number: UInt16) {
        guard self.key(of: sid, number: number) == nil else { return }
        if ring.count < Self.max {
            ring.append((sid, number, key))
        } else {
            ring[next] = (sid, number, key)
            next = (next + 1) % Self.max
        }
    }
}
