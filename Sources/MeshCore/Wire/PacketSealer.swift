import Crypto

/// Seals gossip into packets and opens those of others.
///
/// ```
/// version 1 | key number 2 | sid 8 | counter 8 | ciphertext | tag 16
/// ```
///
/// The clear header and the mesh's label are associated data. Each process start draws a random `sid` and derives its key from the
/// gossip key with it, so the counter can be the nonce: no two packets share key and nonce unless two processes draw the same 64 bits.
///
/// What it can't do yet: a packet is good for any receiver, and for a receiver that has never heard its sender, once. An old packet
/// replayed to such a process says nothing that the order of lives and incarnations doesn't already refuse.
public struct PacketSealer: Sendable {
    /// Below the smallest MTU on the way, so that no packet is fragmented.
    public static let packetBytesMax = 1200
    public static let overheadBytes = headerBytes + tagBytes
    /// The longest message that a packet carries.
    public static let payloadBytesMax = packetBytesMax - overheadBytes
    /// Senders remembered at once: as many as a mesh has members. Only a sender that has proven the key takes a place, of about 300 bytes.
    /// When all are taken the one heard least recently goes; its old packets could be replayed until it is heard again.
    public static let sendersMax = 4096

    static let version: UInt8 = 1
    static let headerBytes = 19
    static let tagBytes = 16

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

    private struct Sender {
        var sid: UInt64
        var keyNumber: UInt16
        /// Derived once, so that a packet costs no HKDF. Nil after the ring was replaced.
        var key: SymmetricKey?
        var window = ReplayWindow()
        var lastUse: UInt64
    }

    /// Why a packet was refused. None is answered: whoever has no key gets no sign that somebody is there.
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
    }

    /// - Parameters:
    ///   - label: the mesh's name; two meshes that share a key but not a label don't hear each other.
    ///   - sid: random, new at each process start, from the operating system.
    public init(ring: GossipKeyRing, label: String, sid: UInt64) {
        self.ring = ring
        self.label = Array(label.utf8)
        self.sid = sid
        sealingKey = Self.derive(from: ring.sealing, sid: sid, label: self.label)
    }

    /// Takes another ring into use. The counter goes on, so nothing that was sent can be replayed.
    public mutating func replaceRing(_ ring: GossipKeyRing) {
        self.ring = ring
        sealingKey = Self.derive(from: ring.sealing, sid: sid, label: label)
        // A number may name another secret now.
        for index in senders.indices { senders[index].key = nil }
    }

    /// The packet that carries `payload`; nil when that is longer than ``payloadBytesMax``.
    public mutating func seal(_ payload: [UInt8]) -> [UInt8]? {
        guard payload.count <= Self.payloadBytesMax else { return nil }
        counter += 1
        var packet = ByteWriter(reserving: Self.overheadBytes + payload.count)
        packet.write(Self.version)
        packet.write(ring.sealing.number)
        packet.write(sid)
        packet.write(counter)
        guard let sealed = AEAD.seal(payload, key: sealingKey, counter: counter, associated: packet.bytes + label) else { return nil }
        packet.write(raw: sealed)
        return packet.bytes
    }

    /// The message inside a packet from another process.
    public mutating func open(_ packet: [UInt8]) throws(Refusal) -> [UInt8] {
        do { return try openUncounted(packet) } catch {
            refusals[error, default: 0] += 1
            throw error
        }
    }

    private mutating func openUncounted(_ packet: [UInt8]) throws(Refusal) -> [UInt8] {
        guard packet.count >= Self.overheadBytes, packet.count <= Self.packetBytesMax else { throw .badLength }
        guard packet[0] == Self.version else { throw .wrongVersion }
        let keyNumber = UInt16(packet[1]) << 8 | UInt16(packet[2])
        let senderSid = packet[3..<11].reduce(0) { $0 << 8 | UInt64($1) }
        let counter = packet[11..<19].reduce(0) { $0 << 8 | UInt64($1) }
        guard senderSid != sid else { throw .reflected }

        let known = senderIndex[senderSid]
        // A replay is refused before it costs a decryption.
        if let known, !senders[known].window.accepts(counter) { throw .replayed }
        guard let root = ring[keyNumber] else { throw .unknownKey }
        let key: SymmetricKey
        if let known, senders[known].keyNumber == keyNumber, let derived = senders[known].key {
            key = derived
        } else {
            key = Self.derive(from: root, sid: senderSid, label: label)
        }
        let header = packet[..<Self.headerBytes]
        guard let payload = AEAD.open(packet[Self.headerBytes...], key: key, counter: counter, associated: header + label) else {
            throw .badSeal
        }
        let index = known ?? place(for: senderSid)
        useCount += 1
        senders[index].lastUse = useCount
        senders[index].keyNumber = keyNumber
        senders[index].key = key
        senders[index].window.record(counter)
        return payload
    }

    private mutating func place(for sid: UInt64) -> Int {
        let sender = Sender(sid: sid, keyNumber: 0, lastUse: 0)
        guard senders.count >= Self.sendersMax, let oldest = senders.indices.min(by: { senders[$0].lastUse < senders[$1].lastUse }) else {
            senders.append(sender)
            senderIndex[sid] = senders.count - 1
            return senders.count - 1
        }
        senderIndex[senders[oldest].sid] = nil
        senders[oldest] = sender
        senderIndex[sid] = oldest
        return oldest
    }

    private static func derive(from key: GossipKey, sid: UInt64, label: [UInt8]) -> SymmetricKey {
        var salt = ByteWriter()
        salt.write(sid)
        return AEAD.derive(from: key, salt: salt.bytes, info: Array("sessionmesh packet 1 ".utf8) + label)
    }
}

/// Which of the last 1024 counters of a sender were seen. Packets overtake each other, so a counter below the highest is not yet a replay.
struct ReplayWindow: Sendable {
    static let width: UInt64 = 1024
    private var highest: UInt64 = 0
    /// A ring of bits: counter `c` at bit `c % 1024`.
    private var words = [UInt64](repeating: 0, count: Int(width / 64))

    func accepts(_ counter: UInt64) -> Bool {
        if counter > highest { return true }
        // The second half is written so that it can't overflow near the top.
        guard highest - counter < Self.width, counter > 0 else { return false }
        return words[word(counter)] & bit(counter) == 0
    }

    mutating func record(_ counter: UInt64) {
        if counter > highest {
            if counter - highest >= Self.width {
                for index in words.indices { words[index] = 0 }
            } else {
                for passed in (highest + 1)...counter { words[word(passed)] &= ~bit(passed) }
            }
            highest = counter
        }
        words[word(counter)] |= bit(counter)
    }

    private func word(_ counter: UInt64) -> Int { Int(counter % Self.width / 64) }
    private func bit(_ counter: UInt64) -> UInt64 { 1 << (counter % 64) }
}

/// AES-256-GCM with a counter for a nonce, and HKDF-SHA256: the only two ways in which the wire uses a secret.
enum AEAD {
    static func derive(from key: GossipKey, salt: [UInt8], info: [UInt8]) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: key.secret), salt: salt, info: info, outputByteCount: 32)
    }

    /// Ciphertext and tag. Nil can't happen with a 32-byte key and a 12-byte nonce, but the library's signature allows it.
    static func seal(_ plain: [UInt8], key: SymmetricKey, counter: UInt64, associated: [UInt8]) -> [UInt8]? {
        guard let nonce = nonce(counter), let box = try? AES.GCM.seal(plain, using: key, nonce: nonce, authenticating: associated) else {
            return nil
        }
        var sealed = [UInt8]()
        sealed.reserveCapacity(plain.count + PacketSealer.tagBytes)
        sealed.append(contentsOf: box.ciphertext)
        sealed.append(contentsOf: box.tag)
        return sealed
    }

    /// The plaintext, or nil when the seal doesn't hold.
    static func open(_ sealed: ArraySlice<UInt8>, key: SymmetricKey, counter: UInt64, associated: [UInt8]) -> [UInt8]? {
        guard sealed.count >= PacketSealer.tagBytes, let nonce = nonce(counter),
            let box = try? AES.GCM.SealedBox(
                nonce: nonce, ciphertext: sealed.dropLast(PacketSealer.tagBytes), tag: sealed.suffix(PacketSealer.tagBytes)),
            let plain = try? AES.GCM.open(box, using: key, authenticating: associated)
        else { return nil }
        return Array(plain)
    }

    private static func nonce(_ counter: UInt64) -> AES.GCM.Nonce? {
        var bytes = ByteWriter(reserving: 12)
        bytes.write(0 as UInt32)
        bytes.write(counter)
        return try? AES.GCM.Nonce(data: bytes.bytes)
    }
}
