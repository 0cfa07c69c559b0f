import Testing

@testable import MeshCore

/// Processes that seal and open, the network between them, and an audience that has the key and writes down every packet.
struct SealPlay {
    /// One line for each packet that travels, and for each message that is heard.
    private(set) var transcript: [String] = []
    /// Every packet that travelled, as somebody on the way could have recorded it.
    private(set) var recording: [(from: String, to: String, packet: [UInt8])] = []
    var now = Moment(uptime: 100_000_000_000, wall: 0)
    /// What is said in reply to what; a message that is not here is heard in silence.
    var replies = ["ping": "ack"]
    /// Lines of the transcript whose packets are lost, each once.
    var losing: [String] = []
    var sealers: [String: PacketSealer] = [:]
    var addresses: [String: Endpoint] = [:]
    private var wire: [(from: String, to: Endpoint, packet: [UInt8])] = []
    private var runs: UInt64 = 0

    static let ring: GossipKeyRing? = GossipKey(number: 1, secret: [UInt8](repeating: 7, count: 32)).flatMap { GossipKeyRing([$0]) }

    init(_ names: [String] = ["ann", "bob"]) throws {
        for name in names { try start(name) }
    }

    /// Starts a process, or starts it again: nothing that it knew is left.
    mutating func start(_ name: String) throws {
        runs += 1
        sealers[name] = PacketSealer(ring: try #require(Self.ring), label: "play", sid: runs)
        if addresses[name] == nil { addresses[name] = .loopback(port: UInt16(runs)) }
    }

    /// Says something, and lets everything travel that comes of it.
    mutating func say(_ name: String, _ text: String, to other: String) throws {
        try whisper(name, text, to: other)
        try run()
    }

    /// The same, but nothing travels yet.
    mutating func whisper(_ name: String, _ text: String, to other: String) throws {
        let target = try #require(addresses[other])
        let packet = try present(sealers[name]?.seal(Self.bytes(of: text), to: target, at: now))
        wire.append((name, target, packet))
    }

    mutating func run() throws {
        while !wire.isEmpty {
            let (from, target, packet) = wire.removeFirst()
            let source = try #require(addresses[from])
            guard let to = addresses.first(where: { $0.value == target })?.key else { continue }
            let line = "\(from) to \(to): \(try contents(of: packet))"
            recording.append((from, to, packet))
            if let lost = losing.firstIndex(of: line) {
                losing.remove(at: lost)
                transcript.append(line + " (lost)")
                continue
            }
            transcript.append(line)
            try deliver(packet, from: source, to: to)
        }
    }

    /// Somebody without the key sends a packet that was sealed by another.
    mutating func play(_ packet: [UInt8], from source: Endpoint, to name: String) throws {
        try deliver(packet, from: source, to: name)
        try run()
    }

    /// As long as a real message: what is shorter than a question is not asked about.
    static let messageBytes = 32

    private static func bytes(of text: String) -> [UInt8] {
        Array(text.utf8) + [UInt8](repeating: UInt8(ascii: "."), count: max(0, messageBytes - text.utf8.count))
    }

    private static func text(of bytes: some Sequence<UInt8>) -> String {
        String(decoding: bytes.prefix { $0 != UInt8(ascii: ".") }, as: UTF8.self)
    }

    func refusals(of name: String) -> [PacketSealer.Refusal: UInt64] { sealers[name]?.refusals ?? [:] }

    private mutating func deliver(_ packet: [UInt8], from source: Endpoint, to name: String) throws {
        let opened: PacketSealer.Opened
        do { opened = try present(try sealers[name]?.open(packet, from: source, at: now)) } catch let refusal as PacketSealer.Refusal {
            transcript.append("\(name) refuses: \(refusal)")
            return
        }
        if let reply = opened.reply {
            // Longer than what caused it is only what goes where it was going anyway.
            if reply.packet[0] & 0x40 == 0 { #expect(reply.packet.count < packet.count) }
            wire.append((name, reply.endpoint, reply.packet))
        }
        if let payload = opened.payload {
            let text = Self.text(of: payload)
            transcript.append("\(name) hears \(text)")
            if let reply = replies[text], let packet = sealers[name]?.seal(Self.bytes(of: reply), to: source, at: now) {
                wire.append((name, source, packet))
            }
        }
        if let answer = sealers[name]?.settle() { wire.append((name, answer.endpoint, answer.packet)) }
    }

    /// What the audience sees inside.
    private func contents(of packet: [UInt8]) throws -> String {
        let sid = packet[3..<11].reduce(0) { $0 << 8 | UInt64($1) }
        let counter = packet[11..<19].reduce(0) { $0 << 8 | UInt64($1) }
        let label = Array("play".utf8)
        let key = PacketSealer.derive(from: try #require(Self.ring).sealing, sid: sid, label: label)
        var plain = try present(AEAD.open(packet[19...], key: key, counter: counter, associated: packet[..<19] + label))[...]
        var words: [String] = []
        for (flag, word) in [(0x80, "question"), (0x40, "answer")] where packet[0] & UInt8(flag) != 0 {
            words.append(word)
            plain = plain.dropFirst(Challenge.bytes)
        }
        if !plain.isEmpty { words.append(Self.text(of: plain)) }
        return words.joined(separator: " ")
    }
}

/// `#require` for a value that a mutating call gives.
func present<Value>(_ value: Value?, at location: SourceLocation = #_sourceLocation) throws -> Value {
    try #require(value, sourceLocation: location)
}
