import Testing

@testable import MeshCore

@Suite struct KeyFileTests {
    static let secret = String(repeating: "A", count: 43)

    static func problem(_ text: String) -> KeyFileError? {
        do {
            _ = try KeyFile(parsing: Array(text.utf8))
            return nil
        } catch { return error }
    }

    @Test func whatIsGeneratedIsReadBack() throws {
        var random = SeededGenerator(seed: 1)
        let file = KeyFile.generate(using: &random)
        #expect(try KeyFile(parsing: Array(file.text.utf8)) == file)
        #expect(file.gossip.sealing.number == 1 && file.cookie.map(\.number) == [1])
        #expect(file.gossip.sealing.secret != file.cookie[0].secret)
    }

    @Test func theLastOfEachRingIsUsedAndCommentsAreNot() throws {
        let text = "# mesh\r\n\n  gossip 2 \(Self.secret) # old\ngossip\t1 \(Self.secret)\r\ncookie 7 \(Self.secret)"
        let file = try KeyFile(parsing: Array(text.utf8))
        #expect(file.gossip.keys.map(\.number) == [2, 1])
        #expect(file.gossip.sealing.number == 1)
        #expect(file.cookie.map(\.number) == [7])
    }

    @Test func anErrorNamesTheLineAndNeverTheSecret() {
        let good = "gossip 1 \(Self.secret)\ncookie 1 \(Self.secret)\n"
        let cases: [(String, KeyFileError.Problem, Int?)] = [
            ("", .noGossipKey, nil),
            ("gossip 1 \(Self.secret)", .noCookieKey, nil),
            (good + "gossip 1", .notThreeWords, 3),
            (good + "gossip 2 \(Self.secret) \(Self.secret)", .notThreeWords, 3),
            (good + "gosip 2 \(Self.secret)", .unknownRing, 3),
            (good + "gossip 0 \(Self.secret)", .badNumber, 3),
            (good + "gossip 65536 \(Self.secret)", .badNumber, 3),
            (good + "gossip 1 \(Self.secret)", .numberTwice, 3),
            (good + "cookie 1 \(Self.secret)", .numberTwice, 3),
            (good + "cookie 2 \(Self.secret)A", .badSecret, 3),
            (good + "cookie 2 hunter2hunter2", .badSecret, 3),
            (good + (2...20).map { "cookie \($0) \(Self.secret)\n" }.joined(), .tooManyKeys, 18),
            (String(repeating: "#", count: KeyFile.bytesMax + 1), .fileTooLarge, nil),
        ]
        for (text, problem, line) in cases {
            let error = Self.problem(text)
            #expect(error?.problem == problem && error?.line == line)
            let shown = error?.description ?? ""
            #expect(!shown.contains("AAAA") && !shown.contains("hunter") && !shown.contains("\n"))
            if let line { #expect(shown.contains("line \(line)")) }
        }
    }

    @Test func printingNeverShowsASecret() {
        var random = SeededGenerator(seed: 2)
        let file = KeyFile.generate(using: &random)
        var dumped = ""
        dump(file, to: &dumped)
        dump(file.gossip, to: &dumped)
        let shown = "\(file) \(String(reflecting: file)) \(file.gossip.keys) \(dumped)"
        #expect(!shown.contains(String(file.gossip.sealing.secret[0]) + ", " + String(file.gossip.sealing.secret[1])))
        #expect(!shown.contains("secret"))
    }

    @Test func junkNeverTraps() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<20_000 {
            let junk = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                Bool.random(using: &random)
                    ? UInt8.random(in: 0...255, using: &random) : Array("gossip 1\n#".utf8).randomElement(using: &random) ?? 0
            }
            _ = try? KeyFile(parsing: junk)
        }
    }

    // MARK: Changing

    @Test func aKeyIsAddedAtTheEndOfItsRingAndTheRestStaysAsItWas() throws {
        var random = SeededGenerator(seed: 1)
        let head = "# ours\ngossip 3 \(Self.secret) # old\r\n"
        let tail = "\ncookie 9 \(Self.secret)"
        var text = try KeyFileText(Array((head + tail).utf8))
        #expect(try text.addKey(to: .gossip, using: &random) == 4)
        let changed = String(decoding: text.bytes, as: UTF8.self)
        #expect(changed.utf8.starts(with: (head + "gossip 4 ").utf8) && changed.hasSuffix("\n" + tail))
        let file = try KeyFile(parsing: text.bytes)
        #expect(file.gossip.sealing.number == 4 && file.gossip.keys.count == 2)
        try text.dropKey(4, from: .gossip)
        #expect(text.bytes == Array((head + tail).utf8))
    }

    @Test func eachRingIsChangedByItself() throws {
        var random = SeededGenerator(seed: 1)
        let before = "cookie 9 \(Self.secret)\n# gossip\ngossip 3 \(Self.secret)\n"
        var text = try KeyFileText(Array(before.utf8))
        #expect(try text.addKey(to: .cookie, using: &random) == 10)
        let file = try KeyFile(parsing: text.bytes)
        #expect(file.cookie.map(\.number) == [9, 10] && file.gossip.keys.map(\.number) == [3])
        #expect(file.cookie[1].secret != file.cookie[0].secret)
        #expect(throws: KeyFileError(line: nil, problem: .noSuchKey(.cookie))) { try text.dropKey(3, from: .cookie) }
        try text.dropKey(9, from: .cookie)
        #expect(try KeyFile(parsing: text.bytes).cookie.map(\.number) == [10])
        #expect(throws: KeyFileError(line: nil, problem: .noCookieKey)) { try text.dropKey(10, from: .cookie) }
    }

    @Test func aChangeThatWouldLeaveNoKeyFileIsRefused() throws {
        var random = SeededGenerator(seed: 1)
        let only = Array("gossip 65535 \(Self.secret)\ncookie 9 \(Self.secret)\n".utf8)
        var text = try KeyFileText(only)
        #expect(throws: KeyFileError(line: nil, problem: .noGossipKey)) { try text.dropKey(65535, from: .gossip) }
        #expect(throws: KeyFileError(line: nil, problem: .noSuchKey(.gossip))) { try text.dropKey(9, from: .gossip) }
        #expect(text.bytes == only)
        for number in 1..<GossipKeyRing.keysMax { #expect(try text.addKey(to: .gossip, using: &random) == UInt16(number)) }
        #expect(throws: KeyFileError.self) { try text.addKey(to: .gossip, using: &random) }
        #expect(!"\(text)".contains(Self.secret))
    }
}
