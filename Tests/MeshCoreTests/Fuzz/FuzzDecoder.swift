@testable import MeshCore

/// Everything that reads bytes from outside, fed with any bytes. The first byte of an input names the decoder, the rest is what it reads.
///
/// A broken promise traps, whether it is the decoder's or one of those asked for here: what was read is written and read again as the same.
/// Shared by the fuzzer of `Tests/Fuzz` and by the test that keeps its corpus true, so it asks for nothing but the core.
enum FuzzDecoder: UInt8, CaseIterable {
    case gossipMessage, packet, sealedPacket, question, swim, linkBytes, linkFrame, peerMessage, sessionState, mirrorRecord, command
    case commandBytes, replyBytes, keyFile, requestHead, responseHead, chunks, cookie, cookieField, endpoint, name

    static func feed(_ input: [UInt8]) {
        guard let first = input.first else { return }
        let all = allCases
        all[Int(first) % all.count].read(Array(input.dropFirst()))
    }

    func read(_ bytes: [UInt8]) {
        switch self {
        case .gossipMessage: readGossipMessage(bytes)
        case .packet: readPacket(bytes)
        case .sealedPacket: readSealedPacket(bytes)
        case .question: readQuestion(bytes)
        case .swim: readSWIM(bytes)
        case .linkBytes: readLinkBytes(bytes)
        case .linkFrame: readLinkFrame(bytes)
        case .peerMessage: readPeerMessage(bytes)
        case .sessionState: readSessionState(bytes)
        case .mirrorRecord: readMirrorRecord(bytes)
        case .command: readCommand(bytes)
        case .commandBytes: readCommands(bytes)
        case .replyBytes: readRESP(bytes, .replies)
        case .keyFile: readKeyFile(bytes)
        case .requestHead: readHead(bytes, isRequest: true)
        case .responseHead: readHead(bytes, isRequest: false)
        case .chunks: readChunks(bytes)
        case .cookie: if let id = Fixture.cookies.verdict(of: bytes).id { precondition(SessionID(bytes: id.bytes) == id) }
        case .cookieField: readCookieField(bytes)
        case .endpoint: readEndpoint(bytes)
        case .name: if let name = NodeName(bytes: bytes[...]) { precondition(Array(name.description.utf8) == bytes) }
        }
    }

    // MARK: Gossip

    private func readGossipMessage(_ bytes: [UInt8]) {
        guard let message = try? GossipMessage(decoding: bytes) else { return }
        for fact in message.facts { precondition(fact.encodedBytes == Self.written(fact).count) }
        let written = message.encoded
        // Facts of unknown kinds are left out, so it is never longer.
        precondition(written.count <= bytes.count)
        precondition((try? GossipMessage(decoding: written)) == message)
    }

    private static func written(_ fact: Fact) -> [UInt8] {
        var writer = ByteWriter()
        fact.write(to: &writer)
        return writer.bytes
    }

    private func readPacket(_ bytes: [UInt8]) {
        var sealer = Fixture.sealer
        guard let opened = try? sealer.open(bytes, from: Fixture.there, at: Fixture.now) else { return }
        if let reply = opened.reply { precondition(reply.packet.count <= PacketSealer.packetBytesMax) }
    }

    /// What a holder of the key may say, by way of the seal and with the handshake done.
    private func readSealedPacket(_ bytes: [UInt8]) {
        var (gossip, peer) = (Fixture.gossip, Fixture.peer)
        guard let packet = peer.seal(bytes, to: Fixture.here, at: Fixture.now) else { return }
        for directive in gossip.step(.packet(packet, from: Fixture.there), at: Fixture.now) { Self.check(directive) }
        for load in gossip.swim.loads { precondition(load.count <= load.bound) }
    }

    /// Questions and answers, which only a holder of the key can put: the first byte is the packet's flags.
    private func readQuestion(_ bytes: [UInt8]) {
        guard let flags = bytes.first else { return }
        var sealer = Fixture.sealer
        var packet = ByteWriter()
        packet.write(MeshProtocol.version | flags & 0xC0)
        packet.write(Fixture.key.number)
        packet.write(Fixture.sid)
        packet.write(1 as UInt64)
        let key = PacketSealer.derive(from: Fixture.key, sid: Fixture.sid, label: Array(Fixture.label.utf8))
        let header = packet.bytes + Array(Fixture.label.utf8)
        guard AEAD.seal(Array(bytes.dropFirst()), key: key, counter: 1, associated: header, to: &packet) else { return }
        guard let opened = try? sealer.open(packet.bytes, from: Fixture.there, at: Fixture.now) else { return }
        // Nobody who has proven nothing is sent more than came.
        if let reply = opened.reply { precondition(reply.packet.count <= max(packet.bytes.count, PacketSealer.packetBytesMax)) }
    }

    private static func check(_ directive: Gossip.Directive) {
        guard case .packet(let packet, _) = directive else { return }
        precondition(packet.count <= PacketSealer.packetBytesMax)
    }

    /// A run of messages, pages and time: each is a byte that says what, and a length, and bytes.
    private func readSWIM(_ bytes: [UInt8]) {
        var swim = Fixture.swim
        var now = Fixture.now
        var reader = ByteReader(bytes)
        while let what = try? reader.read(UInt8.self), let length = try? reader.read(UInt16.self) {
            guard let body = try? reader.read(raw: min(Int(length), reader.remaining)) else { return }
            now = now.advanced(by: .milliseconds(Int64(what >> 2) * 7))
            guard let message = try? GossipMessage(decoding: Array(body)) else { continue }
            let input: SWIM.Input =
                switch what & 3 {
                case 0, 1: .message(message, from: Fixture.there)
                case 2: .state(message, from: message.sender)
                default: .linkDown(message.sender, refused: true)
                }
            play(swim.step(input, at: now), &swim, &now)
            for load in swim.loads { precondition(load.count <= load.bound) }
        }
    }

    /// Sends nothing, lets every second timer fire, and begins a new life when told to.
    private func play(_ directives: [SWIM.Directive], _ swim: inout SWIM, _ now: inout Moment) {
        for (place, directive) in directives.enumerated() {
            switch directive {
            case .send(let message, _): precondition(message.encoded.count <= PacketSealer.payloadBytesMax)
            case .startTimer(let timer, let after) where place % 2 == 0 && after < .seconds(1):
                now = now.advanced(by: after)
                _ = swim.step(.timer(timer), at: now)
            case .declaredDead: _ = swim.beginNewLife(at: now, stage: .syncing)
            case .becameStale(let known): _ = swim.beginNewLife(at: now, stage: .syncing, after: known)
            default: break
            }
        }
    }

    // MARK: Peer links

    private func readLinkBytes(_ bytes: [UInt8]) {
        for link in [Fixture.initiator, Fixture.acceptor, Fixture.established.here] {
            var (whole, pieces) = (link, link)
            let atOnce = try? whole.receive(bytes)
            var events: [PeerLinkMachine.Event]? = []
            for start in stride(from: 0, to: bytes.count, by: 7) {
                guard let more = try? pieces.receive(Array(bytes[start..<min(start + 7, bytes.count)])) else {
                    events = nil
                    break
                }
                events? += more
            }
            precondition(atOnce == events)
        }
    }

    /// What a holder of the key may send: any frame, sealed well.
    private func readLinkFrame(_ bytes: [UInt8]) {
        var (here, there) = Fixture.established
        guard let frame = try? there.sealedFrame(bytes, associated: []), let events = try? here.receive(frame) else { return }
        var again = ByteWriter()
        for case .message(let message) in events {
            again.write(long: message)
            readPeerMessage(message)
        }
        precondition(again.bytes == bytes)
    }

    private func readPeerMessage(_ bytes: [UInt8]) {
        guard let message = try? PeerMessage(decoding: bytes) else { return }
        precondition((try? PeerMessage(decoding: message.encoded)) == message)
    }

    // MARK: Sessions

    private func readSessionState(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let state = try? reader.readSessionState() else { return }
        check(state)
    }

    private func check(_ state: SessionState) {
        var writer = ByteWriter()
        writer.write(state)
        var reader = ByteReader(writer.bytes)
        precondition((try? reader.readSessionState()) == state)
        var merged = state
        merged.merge(state)
        // Of more removals than are remembered a merge forgets the oldest.
        precondition(merged == state || state.fields.count > SessionState.removalsMax)
        _ = state.mirrorRecord(of: Fixture.session, policy: ExpiryPolicy())
    }

    /// Entries as a mirror gives them back: name, version and payload, each behind its length.
    private func readMirrorRecord(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        var entries: [MirrorEntry] = []
        while let name = try? reader.readShort(), let version = try? reader.readShort(), let payload = try? reader.readShort() {
            entries.append(MirrorEntry(name: Array(name), version: Array(version), payload: Array(payload)))
        }
        let record = MirrorRecord(key: Fixture.session, entries: entries, expiresAt: 0)
        guard record.fault == nil, let state = try? SessionState(record) else { return }
        _ = state.mirrorRecord(of: Fixture.session, policy: ExpiryPolicy())
    }

    // MARK: Clients

    /// The words of a command, each behind a length of two bytes, so that a fuzzer need not find out how RESP counts.
    private func readCommand(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        var words: [RESPValue] = []
        while let length = try? reader.read(UInt16.self), let word = try? reader.read(raw: min(Int(length), reader.remaining)) {
            words.append(.bulk(Array(word)))
        }
        check(command: .array(words))
    }

    private func check(command: RESPValue) {
        guard let decoded = try? ClientProtocol.decode(command) else { return }
        precondition((try? ClientProtocol.decode(ClientProtocol.encode(decoded))) == decoded)
    }

    /// The reader of commands, in one piece and in many, beside the parser of everything.
    private func readCommands(_ bytes: [UInt8]) {
        readRESP(bytes, .commands)
        let parsed = Self.values(bytes, .commands, step: bytes.count).map { value -> Result<ClientCommand, ClientFailure> in
            do throws(ClientFailure) { return .success(try ClientProtocol.decode(value)) } catch { return .failure(error) }
        }
        for step in [max(1, bytes.count), 3] {
            var reader = CommandReader()
            var commands: [Result<ClientCommand, ClientFailure>] = []
            for start in stride(from: 0, to: bytes.count, by: step) {
                reader.append(Array(bytes[start..<min(start + step, bytes.count)]))
                while let command = try? reader.next() { commands.append(command) }
            }
            precondition(commands == parsed)
        }
    }

    private func readRESP(_ bytes: [UInt8], _ limits: RESPLimits) {
        let whole = Self.values(bytes, limits, step: bytes.count)
        precondition(whole == Self.values(bytes, limits, step: 3))
        for value in whole {
            var written: [UInt8] = []
            value.append(to: &written)
            precondition(Self.values(written, limits, step: written.count).count == 1)
            if limits.commandsOnly { check(command: value) } else { readReply(value) }
        }
    }

    private static func values(_ bytes: [UInt8], _ limits: RESPLimits, step: Int) -> [RESPValue] {
        var parser = RESPParser(limits: limits)
        var values: [RESPValue] = []
        for start in stride(from: 0, to: bytes.count, by: max(1, step)) {
            parser.append(bytes[start..<min(start + step, bytes.count)])
            while let value = try? parser.next() { values.append(value) }
        }
        return values
    }

    private func readReply(_ value: RESPValue) {
        let kinds: [ClientRequest.Kind] = [.ping, .open, .commit, .publish, .members, .placement]
        for kind in kinds { _ = try? ClientProtocol.decode(value, to: kind) }
        _ = try? ClientProtocol.decodeGreeting(value)
        if case .push(let values) = value { _ = try? ClientProtocol.decodePush(values) }
    }

    private func readKeyFile(_ bytes: [UInt8]) {
        guard let file = try? KeyFile(parsing: bytes) else { return }
        precondition((try? KeyFile(parsing: Array(file.text.utf8))) == file)
    }

    private func readEndpoint(_ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let endpoint = Endpoint(text: text) else { return }
        precondition(Endpoint(text: endpoint.description) == endpoint)
    }

    // MARK: HTTP

    private func readHead(_ bytes: [UInt8], isRequest: Bool) {
        bytes.withUnsafeBytes { raw in
            var scanner = HeadScanner()
            var fields: [HeadField] = []
            if isRequest {
                guard case .head(let head) = scanner.scanRequest(raw) else { return }
                precondition(head.byteCount <= bytes.count && head.target.upperBound <= head.byteCount)
                fields = scanner.fields
                var affinity = SessionAffinity(codec: Fixture.cookies, names: [Array("sid".utf8)])
                _ = affinity.read(raw, fields: fields)
            } else {
                guard case .head(let head) = scanner.scanResponse(raw) else { return }
                precondition(head.byteCount <= bytes.count)
                fields = scanner.fields
            }
            for field in fields { precondition(field.name.upperBound <= bytes.count && field.value.upperBound <= bytes.count) }
        }
    }

    private func readChunks(_ bytes: [UInt8]) {
        let whole = Self.chunks(bytes, step: max(1, bytes.count))
        precondition(whole == Self.chunks(bytes, step: 1))
    }

    /// The content, and where the body ends; nil for a fault.
    private static func chunks(_ bytes: [UInt8], step: Int) -> [UInt8]? {
        var scanner = ChunkScanner()
        var content: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: step) {
            let part = Array(bytes[start..<min(start + step, bytes.count)])
            switch part.withUnsafeBytes({ scanner.consume($0) { content += part[$0] } }) {
            case .more: continue
            case .end: return content
            case .fault: return nil
            }
        }
        return content
    }

    private func readCookieField(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            var reader = CookieReader(raw, 0..<raw.count)
            while let value = reader.next(named: Array("sid".utf8)) { precondition(value.upperBound <= raw.count) }
        }
    }

    // MARK: What they read with

    /// Made once from fixed seeds, and copied for each input, so that an input does the same whenever it comes.
    enum Fixture {
        static let now = Moment(uptime: 5_000_000_000, wall: 1_795_000_000_000)
        static let here = Endpoint.loopback(port: 1)
        static let there = Endpoint.loopback(port: 2)
        static let label = "fuzz"
        static let sid: UInt64 = 0x5EED
        static let file: KeyFile = {
            var generator = SeededGenerator(seed: 7)
            return KeyFile.generate(using: &generator)
        }()
        static let key = file.gossip.sealing
        static let cookies = made(CookieCodec(ring: file.cookie))
        static let session = made(SessionKey(bytes: [UInt8](repeating: 0xA5, count: 32)))
        static let sealer = PacketSealer(ring: file.gossip, label: label, sid: 1)
        static let initiator = link(.initiator)
        static let acceptor = link(.acceptor)

        static func id(_ name: String, life: UInt64) -> MemberID {
            MemberID(name: made(NodeName(bytes: Array(name.utf8)[...])), life: Life(rawValue: life))
        }

        static func member(_ name: String, life: UInt64, port: UInt16) -> Member {
            Member(id: id(name, life: life), stage: .serving, endpoint: .loopback(port: port))
        }

        static let local = member("me", life: 100, port: 1)
        /// The one whose packets come from ``there``, and others.
        static let others = [member("you", life: 200, port: 2), member("n3", life: 300, port: 3), member("n4", life: 400, port: 4)]

        /// It knows the others.
        static let swim: SWIM = {
            var swim = made(try? SWIM(local: local, seeds: [there], seed: 1))
            _ = swim.step(.start, at: now)
            for other in others { _ = swim.step(.state(page(other), from: other.id), at: now) }
            return swim
        }()

        static func page(_ other: Member) -> GossipMessage {
            GossipMessage(sender: other.id, digest: 1, kind: .state(isLast: true, asking: false), facts: [.member(other, goneFor: 0)])
        }

        private static let pair: (gossip: Gossip, peer: PacketSealer) = {
            var gossip = made(try? Gossip(local: local, seeds: [there], seed: 1, ring: file.gossip, label: label, sid: 1))
            var peer = PacketSealer(ring: file.gossip, label: label, sid: sid)
            _ = gossip.step(.membership(.start), at: now)
            for other in others { _ = gossip.step(.membership(.state(page(other), from: other.id)), at: now) }
            // Question and answer, until each has proven itself to the other.
            let hello = GossipMessage(sender: others[0].id, digest: 1, kind: .ping(number: 1, target: local.id)).encoded
            var packets = [made(peer.seal(hello, to: here, at: now))]
            for _ in 0..<6 where !packets.isEmpty {
                var back: [[UInt8]] = []
                for packet in packets {
                    for case .packet(let answer, to: there) in gossip.step(.packet(packet, from: there), at: now) {
                        if let reply = (try? peer.open(answer, from: here, at: now))?.reply { back.append(reply.packet) }
                    }
                    if let answer = peer.settle() { back.append(answer.packet) }
                }
                packets = back
            }
            return (gossip, peer)
        }()
        static var gossip: Gossip { pair.gossip }
        static var peer: PacketSealer { pair.peer }

        private static func link(_ role: PeerLinkMachine.Role) -> PeerLinkMachine {
            let isInitiator = role == .initiator
            return PeerLinkMachine(
                role: role, ring: file.gossip, label: label, nonce: [UInt8](repeating: role.rawValue, count: PeerLinkMachine.nonceBytes),
                local: isInitiator ? local.id : others[0].id, endpoint: isInitiator ? here : there)
        }

        static let established: (here: PeerLinkMachine, there: PeerLinkMachine) = {
            var (here, there) = (acceptor, initiator)
            var toHere = sent(there.start())
            for _ in 0..<3 {
                let toThere = sent((try? here.receive(toHere)) ?? [])
                toHere = sent((try? there.receive(toThere)) ?? [])
            }
            precondition(here.isEstablished && there.isEstablished)
            return (here, there)
        }()

        private static func sent(_ events: [PeerLinkMachine.Event]) -> [UInt8] {
            events.flatMap { if case .send(let bytes) = $0 { bytes } else { [UInt8]() } }
        }

        private static func made<Value>(_ value: Value?) -> Value {
            guard let value else { preconditionFailure("a fixture is wrong") }
            return value
        }
    }
}
