import Testing

@testable import MeshCore

@Suite struct GossipMessageTests {
    static func name(_ random: inout SeededGenerator) throws -> NodeName {
        let letters = Array("abcXYZ019._-")
        let length = [1, 5, 64].randomElement(using: &random) ?? 1
        return try NodeName(String((0..<length).map { _ in letters.randomElement(using: &random) ?? "a" }))
    }

    static func id(_ random: inout SeededGenerator) throws -> MemberID {
        MemberID(name: try name(&random), life: Life(rawValue: random.next()))
    }

    static func endpoint(_ random: inout SeededGenerator) throws -> Endpoint {
        let bytes = (0..<(Bool.random(using: &random) ? 4 : 16)).map { _ in UInt8.random(in: 0...255, using: &random) }
        return try #require(Endpoint(address: bytes, port: .random(in: 0...UInt16.max, using: &random)))
    }

    static func text(_ random: inout SeededGenerator, max: Int) -> String {
        String(repeating: ["x", "é", "ß"].randomElement(using: &random) ?? "x", count: Int.random(in: 0...max / 2, using: &random))
    }

    static func testimony(_ random: inout SeededGenerator) throws -> Testimony {
        Testimony(
            subject: try id(&random), incarnation: .random(in: 0...UInt32.max, using: &random), witness: try name(&random),
            number: .random(in: 0...UInt32.max, using: &random),
            finding: Testimony.Finding.allCases.randomElement(using: &random) ?? .alive,
            pings: .random(in: 0...UInt8.max, using: &random),
            heardAgo: Bool.random(using: &random) ? nil : .milliseconds(Int64.random(in: 0..<0xFFFF_FFFF, using: &random)),
            roundTrip: Bool.random(using: &random) ? nil : .microseconds(Int64.random(in: 0..<0xFFFF_FFFF, using: &random)))
    }

    static func fact(_ random: inout SeededGenerator) throws -> Fact {
        let number = UInt32.random(in: 0...UInt32.max, using: &random)
        switch Int.random(in: 0..<7, using: &random) {
        case 0:
            var member = Member(id: try id(&random), incarnation: number, endpoint: try endpoint(&random))
            member.status = Status.allCases.randomElement(using: &random) ?? .alive
            member.role = Role.allCases.randomElement(using: &random) ?? .node
            member.stage = Stage.allCases.randomElement(using: &random) ?? .serving
            member.weight = .random(in: 1...16, using: &random)
            func marks(max: Int) -> [KeyMark] {
                (0..<Int.random(in: 0...max, using: &random)).map {
                    KeyMark(number: UInt16($0 + 1), check: UInt32.random(in: 0...UInt32.max, using: &random))
                }
            }
            member.keys = marks(max: 3)
            member.cookieKeys = marks(max: 3)
            for _ in 0..<Int.random(in: 0...3, using: &random) { member.tags[text(&random, max: 40)] = text(&random, max: 80) }
            return .member(member, goneFor: number / 3)
        case 1:
            let status: Status = [.suspect, .dead, .left].randomElement(using: &random) ?? .dead
            return .claim(try id(&random), incarnation: number, status, accuser: try name(&random))
        case 2:
            let instance = Instance(
                node: try id(&random), number: number, service: text(&random, max: 120), address: text(&random, max: 120),
                weight: .random(in: 1...100, using: &random), cookieName: text(&random, max: 120))
            return .instance(instance, version: number / 7)
        case 3: return .instanceRemoved(node: try id(&random), number: number, version: number / 5)
        case 4: return .testimony(try testimony(&random))
        case 5: return .survival(try id(&random), of: Life(rawValue: random.next()))
        default:
            let numbers = Set((0..<5).map { _ in UInt32.random(in: 3...900, using: &random) }).sorted()
            return .roster(node: try id(&random), version: number, span: 3...900, numbers: numbers)
        }
    }

    static func buckets(_ random: inout SeededGenerator) -> ViewBuckets {
        var buckets = ViewBuckets()
        for _ in 0..<20 { buckets.add(random.next(), of: random.next()) }
        return buckets
    }

    static func message(_ random: inout SeededGenerator) throws -> GossipMessage {
        let number = UInt32.random(in: 0...UInt32.max, using: &random)
        let kinds: [GossipMessage.Kind] = [
            .ping(number: number, target: try id(&random)), .ack(number: number),
            .pingRequest(number: number, target: try id(&random), at: try endpoint(&random)),
            .relayedAck(number: number, subject: try id(&random)), .gossip, .stale(try id(&random)),
            .state(isLast: Bool.random(using: &random), asking: Bool.random(using: &random)),
            .nack(number: number, subject: try id(&random)), .digests(buckets(&random)), .delta(asking: nil),
            .delta(asking: buckets(&random)),
        ]
        let facts = try (0..<Int.random(in: 0...2, using: &random)).map { _ in try fact(&random) }
        return GossipMessage(
            sender: try id(&random), digest: random.next(), kind: kinds.randomElement(using: &random) ?? .gossip, facts: facts)
    }

    @Test func whatIsWrittenIsRead() throws {
        var random = SeededGenerator(seed: 11)
        for _ in 0..<3000 {
            let message = try Self.message(&random)
            let bytes = message.encoded
            guard bytes.count <= PacketSealer.payloadBytesMax else { continue }
            #expect(try GossipMessage(decoding: bytes) == message)
            let facts = message.facts.reduce(0) { $0 + $1.encodedBytes }
            #expect(bytes.count - facts <= GossipMessage.headBytesMax)
        }
    }

    @Test func theLargestFactFitsBesideTheLargestHead() throws {
        let longest = MemberID(name: try NodeName(String(repeating: "n", count: 64)), life: Life(rawValue: .max))
        let address = try #require(Endpoint(address: [UInt8](repeating: 1, count: 16), port: 1))
        var member = Member(id: longest, endpoint: address)
        member.tags = ["a": String(repeating: "x", count: 253), "b": String(repeating: "x", count: 253)]
        #expect(!member.tagsFit || member.tags.count == 2)
        member.keys = (1...Member.keysMax).map { KeyMark(number: UInt16($0), check: 0) }
        member.cookieKeys = (1...Member.cookieKeysMax).map { KeyMark(number: UInt16($0), check: 0) }
        let texts = String(repeating: "t", count: Instance.textBytesMax)
        let facts: [Fact] = [
            .member(member), .instance(Instance(node: longest, number: 1, service: texts, address: texts, cookieName: texts), version: 1),
            .roster(node: longest, version: 1, span: 0...UInt32.max, numbers: Array(0..<UInt32(InstanceRoll.rosterNumbersMax))),
        ]
        for fact in facts { #expect(fact.encodedBytes + GossipMessage.headBytesMax <= PacketSealer.payloadBytesMax) }
    }

    @Test func factsOfAKindNotKnownAreSkipped() throws {
        let sender = MemberID(name: try NodeName("n1"), life: Life(rawValue: 1))
        let known = Fact.instanceRemoved(node: sender, number: 1, version: 2)
        let message = GossipMessage(sender: sender, digest: 3, kind: .gossip, facts: [known])
        let bytes = GossipMessage(sender: sender, digest: 3, kind: .gossip).encoded
        let withUnknown = bytes + [200, 0, 2, 9, 9] + message.encoded.dropFirst(bytes.count)
        #expect(try GossipMessage(decoding: withUnknown) == message)
    }

    @Test func whatNoAgentWritesIsRefused() throws {
        let sender = MemberID(name: try NodeName("n1"), life: Life(rawValue: 1))
        let head = GossipMessage(sender: sender, digest: 3, kind: .gossip).encoded
        var member = Member(id: sender, endpoint: .loopback(port: 1))
        member.weight = 17
        func refusal(_ bytes: [UInt8]) -> WireError? {
            do {
                _ = try GossipMessage(decoding: bytes)
                return nil
            } catch { return error }
        }
        func with(_ fact: Fact) -> [UInt8] { GossipMessage(sender: sender, digest: 3, kind: .gossip, facts: [fact]).encoded }
        #expect(refusal([]) == .truncated)
        #expect(refusal([2] + head.dropFirst()) == .wrongVersion)
        #expect(refusal(head.dropLast() + [99]) == .unknownValue)
        #expect(refusal(head.dropLast() + [9] + [UInt8](repeating: 1, count: 63)) == .truncated)
        #expect(refusal(head.dropLast() + [10]) == .truncated)
        #expect(refusal(head.dropLast() + [10, 1] + [UInt8](repeating: 1, count: 63)) == .truncated)
        #expect(refusal(head.dropLast() + [10, 2]) == .unknownValue)
        #expect(refusal(head + [1]) == .truncated)
        #expect(refusal(with(.member(member))) == .unknownValue)
        #expect(refusal(with(.claim(sender, incarnation: 0, .alive, accuser: sender.name))) == .unknownValue)
        #expect(
            refusal(head + [4, 0, 20] + with(.instanceRemoved(node: sender, number: 1, version: 1)).dropFirst(head.count + 3) + [0])
                == .trailingBytes)
        #expect(refusal([UInt8](repeating: 0, count: PacketSealer.payloadBytesMax + 1)) == .tooLarge)
        let texts = String(repeating: "t", count: Instance.textBytesMax + 1)
        #expect(refusal(with(.instance(Instance(node: sender, number: 1, service: texts, address: ""), version: 1))) == .tooLarge)
        #expect(refusal(with(.roster(node: sender, version: 1, span: 1...5, numbers: [2, 2]))) == .unknownValue)
        #expect(refusal(with(.roster(node: sender, version: 1, span: 1...5, numbers: [6]))) == .unknownValue)
    }

    /// 200 000 inputs: chance, and valid messages with flipped, cut and doubled bytes.
    @Test func junkNeverTrapsAndWhatDecodesEncodesAgain() throws {
        var random = SeededGenerator(seed: 12)
        let samples = try (0..<64).map { _ in try Self.message(&random).encoded }
        var accepted = 0
        for round in 0..<200_000 {
            var bytes: [UInt8]
            if round % 4 == 0 {
                bytes = (0..<Int(random.next() % 120)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            } else {
                bytes = samples[Int(random.next() % 64)]
                for _ in 0...(random.next() % 3) { bytes[Int(random.next() % UInt64(bytes.count))] ^= 1 << UInt8(random.next() % 8) }
                if round % 4 == 2 { bytes = Array(bytes.prefix(Int(random.next() % UInt64(bytes.count + 1)))) }
            }
            guard let message = try? GossipMessage(decoding: bytes) else { continue }
            accepted += 1
            // An unknown fact is skipped, so the bytes may differ; what they mean may not.
            if accepted % 16 == 0 { #expect(try GossipMessage(decoding: message.encoded) == message) }
        }
        #expect(accepted > 1000)
    }
}
