import Testing

@testable import MeshCore

@Suite struct PeerLinkTests {
    typealias Machine = PeerLinkMachine

    static func machine(
        _ role: Machine.Role, name: String = "n1", fill: UInt8 = 7, number: UInt16 = 1, label: String = "test", nonce: UInt8 = 1
    )
        throws -> Machine
    {
        let key = try #require(GossipKey(number: number, secret: [UInt8](repeating: fill, count: 32)))
        return Machine(
            role: role, ring: try #require(GossipKeyRing([key])), label: label, nonce: [UInt8](repeating: nonce, count: 32),
            local: try id(name), endpoint: .loopback(port: 7000))
    }

    static func id(_ name: String) throws -> MemberID { MemberID(name: try NodeName(name), life: Life(rawValue: 5)) }

    static func sent(_ events: [Machine.Event]) -> [UInt8] {
        events.flatMap { if case .send(let bytes) = $0 { bytes } else { [UInt8]() } }
    }

    /// Both ends after the handshake.
    static func pair() throws -> (initiator: Machine, acceptor: Machine) {
        var initiator = try machine(.initiator, name: "n1", nonce: 1)
        var acceptor = try machine(.acceptor, name: "n2", nonce: 2)
        let answer = try acceptor.receive(sent(initiator.start()))
        #expect(!acceptor.isEstablished)
        let proof = try initiator.receive(sent(answer))
        #expect(proof.last == .established(peer: try id("n2"), endpoint: .loopback(port: 7000)))
        #expect(try acceptor.receive(sent(proof)) == [.established(peer: try id("n1"), endpoint: .loopback(port: 7000))])
        return (initiator, acceptor)
    }

    @Test func bothSidesTalk() throws {
        var (initiator, acceptor) = try Self.pair()
        for length in [0, 1, 5000, Machine.messageBytesMax] {
            let message = [UInt8](repeating: 3, count: length)
            #expect(try acceptor.receive(try initiator.sealed(message)) == [.message(message)])
            #expect(try initiator.receive(try acceptor.sealed(message)) == [.message(message)])
        }
        #expect(throws: Machine.Failure.frameTooLarge) { try initiator.sealed([UInt8](repeating: 0, count: Machine.messageBytesMax + 1)) }
    }

    @Test func whatIsGatheredIsOneFrameInItsOrder() throws {
        var (initiator, acceptor) = try Self.pair()
        #expect(try initiator.seal() == nil)
        for message: [UInt8] in [[1, 2], [], [3]] { #expect(try initiator.gather(message) == nil) }
        let frame = try #require(try initiator.seal())
        #expect(frame.count == 4 + 3 * 4 + 3 + 16)
        #expect(try initiator.seal() == nil)
        #expect(try acceptor.receive(frame) == [.message([1, 2]), .message([]), .message([3])])
    }

    @Test func aFrameThatIsFullComesFirst() throws {
        var (initiator, acceptor) = try Self.pair()
        let (half, long) = ([UInt8](repeating: 1, count: Machine.gatheredBytesMax / 2 - 4), [UInt8](repeating: 2, count: 100_000))
        #expect(try initiator.gather(half) == nil)
        #expect(try initiator.gather(half) == nil)
        let full = try #require(try initiator.gather(long))
        #expect(full.count == 4 + Machine.gatheredBytesMax + 16)
        let alone = try #require(try initiator.gather([3]))
        #expect(try acceptor.receive(full) == [.message(half), .message(half)])
        #expect(try acceptor.receive(alone) == [.message(long)])
        #expect(try acceptor.receive(try #require(try initiator.seal())) == [.message([3])])
    }

    @Test func aFrameOfNothingOrOfAPieceIsRefused() throws {
        for plain: [UInt8] in [[], [0], [0, 0, 0, 1], [0, 0, 0, 1, 7, 0, 0], [0, 0x10, 0, 1]] {
            var (initiator, acceptor) = try Self.pair()
            let frame = try initiator.sealedFrame(plain, associated: [])
            #expect(throws: Machine.Failure.malformed) { try acceptor.receive(frame) }
        }
    }

    @Test func bytesMayComeOneByOneOrAllAtOnce() throws {
        var initiator = try Self.machine(.initiator, nonce: 1)
        var acceptor = try Self.machine(.acceptor, name: "n2", nonce: 2)
        func feed(_ bytes: [UInt8], to machine: inout Machine) throws -> [Machine.Event] {
            try bytes.flatMap { try machine.receive([$0]) }
        }
        let answer = try feed(Self.sent(initiator.start()), to: &acceptor)
        let proof = try feed(Self.sent(answer), to: &initiator)
        let tail = try initiator.sealed([1, 2]) + initiator.sealed([3])
        // The proof and the first messages in one piece.
        #expect(
            try acceptor.receive(Self.sent(proof) + tail)
                == [.established(peer: try Self.id("n1"), endpoint: .loopback(port: 7000)), .message([1, 2]), .message([3])])
        #expect(try feed(try acceptor.sealed([4]), to: &initiator) == [.message([4])])
    }

    @Test func anotherKeyOrLabelIsRefused() throws {
        let hello = Self.sent(try Self.machine(.initiator).start())
        var unknown = try Self.machine(.acceptor, number: 2, nonce: 2)
        #expect(throws: Machine.Failure.unknownKey) { try unknown.receive(hello) }
        for acceptor in [try Self.machine(.acceptor, fill: 8, nonce: 2), try Self.machine(.acceptor, label: "other", nonce: 2)] {
            var acceptor = acceptor
            var initiator = try Self.machine(.initiator)
            let answer = Self.sent(try acceptor.receive(hello))
            #expect(throws: Machine.Failure.badSeal) { try initiator.receive(answer) }
            #expect(!initiator.isEstablished)
        }
    }

    @Test func nothingIsAcceptedOrSealedBeforeTheProof() throws {
        var acceptor = try Self.machine(.acceptor, nonce: 2)
        #expect(throws: Machine.Failure.notEstablished) { try acceptor.sealed([1]) }
        _ = try acceptor.receive(Self.sent(try Self.machine(.initiator).start()))
        #expect(throws: Machine.Failure.notEstablished) { try acceptor.sealed([1]) }
        // A frame that is no proof.
        #expect(throws: Machine.Failure.badSeal) { try acceptor.receive([0, 0, 0, 20] + [UInt8](repeating: 0, count: 20)) }
    }

    @Test func whatIsReflectedIsRefused() throws {
        var initiator = try Self.machine(.initiator)
        let hello = Self.sent(initiator.start())
        #expect(throws: Machine.Failure.reflected) { try initiator.receive(hello) }
        // With the role turned around it is still our nonce.
        var again = try Self.machine(.initiator)
        var turned = hello
        turned[5] = UInt8(ascii: "A")
        #expect(throws: Machine.Failure.reflected) { try again.receive(turned) }
        // A message of ours sent back doesn't open: each direction has its own key.
        var (left, _) = try Self.pair()
        let frame = try left.sealed([1])
        #expect(throws: Machine.Failure.badSeal) { try left.receive(frame) }
    }

    @Test func aReplayedMessageAndAReplayedHandshakeAreRefused() throws {
        var (initiator, acceptor) = try Self.pair()
        let frame = try initiator.sealed([1])
        _ = try acceptor.receive(frame)
        #expect(throws: Machine.Failure.badSeal) { try acceptor.receive(frame) }
        #expect(throws: Machine.Failure.badSeal) { try acceptor.receive([]) }

        // All that an initiator once said, to an acceptor with a fresh nonce.
        var old = try Self.machine(.acceptor, nonce: 2)
        var speaker = try Self.machine(.initiator)
        let hello = Self.sent(speaker.start())
        let proof = Self.sent(try speaker.receive(Self.sent(try old.receive(hello))))
        var fresh = try Self.machine(.acceptor, nonce: 3)
        _ = try fresh.receive(hello)
        #expect(throws: Machine.Failure.badSeal) { try fresh.receive(proof) }
    }

    @Test func everyFlippedBitOfTheHandshakeIsNoticed() throws {
        let hello = Self.sent(try Self.machine(.initiator).start())
        var honest = try Self.machine(.acceptor, name: "n2", nonce: 2)
        let answer = Self.sent(try honest.receive(hello))
        for bit in 0..<answer.count * 8 {
            var initiator = try Self.machine(.initiator)
            var flipped = answer
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            // A longer length only makes the initiator wait for bytes that never come.
            _ = try? initiator.receive(flipped)
            #expect(!initiator.isEstablished)
        }
        for bit in 0..<hello.count * 8 {
            var initiator = try Self.machine(.initiator)
            var acceptor = try Self.machine(.acceptor, name: "n2", nonce: 2)
            var flipped = hello
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            guard let events = try? acceptor.receive(flipped) else { continue }
            _ = try? initiator.receive(Self.sent(events))
            #expect(!initiator.isEstablished)
        }
    }

    @Test func aTruncatedFrameOnlyWaits() throws {
        var (initiator, acceptor) = try Self.pair()
        let frame = try initiator.sealed([1, 2, 3])
        #expect(try acceptor.receive(Array(frame.dropLast())) == [])
        #expect(try acceptor.receive(Array(frame.suffix(1))) == [.message([1, 2, 3])])
    }

    @Test func aFrameAboveTheBoundIsRefusedByItsLengthAlone() throws {
        var acceptor = try Self.machine(.acceptor)
        #expect(throws: Machine.Failure.frameTooLarge) { try acceptor.receive([0, 0, 2, 1]) }
        var (_, proven) = try Self.pair()
        #expect(throws: Machine.Failure.frameTooLarge) { try proven.receive([0, 0x10, 0, 21]) }
        var empty = try Self.machine(.acceptor)
        #expect(throws: Machine.Failure.malformed) { try empty.receive([0, 0, 0, 0]) }
        // Browsers and port scanners.
        var confused = try Self.machine(.acceptor)
        #expect(throws: Machine.Failure.frameTooLarge) { try confused.receive(Array("GET / HTTP/1.1\r\n\r\n".utf8)) }
    }

    @Test func junkNeverTraps() throws {
        var random = SeededGenerator(seed: 9)
        for round in 0..<20_000 {
            var machine = try Self.machine(round % 2 == 0 ? .acceptor : .initiator)
            var junk = (0..<Int.random(in: 1...90, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            if round % 3 > 0 { junk = [0, 0, 0, UInt8(min(junk.count, 36)), 1, round % 2 == 0 ? 0x49 : 0x41, 0, 1] + junk }
            _ = try? machine.receive(junk)
            #expect(!machine.isEstablished)
        }
    }
}

extension PeerLinkMachine {
    /// The frame of one message.
    mutating func sealed(_ message: [UInt8]) throws -> [UInt8] {
        #expect(try gather(message) == nil)
        return try #require(try seal())
    }
}
